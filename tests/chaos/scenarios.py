"""One small function per failure; it breaks the site, and repairs it before it returns."""

import math
import time
from collections.abc import Callable
from typing import NamedTuple

from tests.chaos.attacks import idle_connections, largest_study, starved_key
from tests.chaos.keeper import Keeper
from tests.chaos.site import CLOCK, Site
from tests.e2e.deployment import ROOT

from metseg.contracts import ModelCard

__all__ = ["SCENARIOS", "SHORT", "Scenario"]

OTHER = "20260101-000000-chaos"
PUBLISH = f"""
from metseg.errors import Conflict
from metseg.storage import open_store
from metseg.registry import Registry
from metseg.settings import settings
from metseg_worker.setup import STARTER, FILES
from metseg.contracts import ModelCard
card = ModelCard.model_validate_json((STARTER / "card.json").read_bytes())
files = {{name: (STARTER / name).read_bytes() for name in FILES if (STARTER / name).is_file()}}
try:
    Registry(open_store(settings())).publish(card.model_copy(update={{"version": "{OTHER}"}}), files)
except Conflict:
    print("published before")
"""
CORRUPT = f"""
from metseg.storage import open_store
from metseg.settings import settings
store = open_store(settings())
store.put("models/{OTHER}/model.onnx", b"not a model")
"""
DAMAGE = """
from metseg.settings import settings
from metseg.storage import open_store
store = open_store(settings())
for key in ("open/{id}", "jobs/{id}/request.json"):
    store.put(key, b"damaged")
"""
HANG_S = 30.0
HANGS_S = (7.0, 20.0, 60.0)
CUT_S = 12.0
WITHOUT_S = 10.0
HOUR_S = 3600
DAY_S = 86400
WRONG_S = 25.0
HUNG_REDIS_RECOVERY_S = 30.0


class Scenario(NamedTuple):
    """One way to break a deployment.

    Attributes:
        title: its row in the table.
        breaks: breaks and repairs the site.
        note: an addition to the row's figures.
        lacks: what this machine lacks for it; empty if it can run.
        recovery_limit_s: the longest recovery that keeps the promise.
    """

    title: str
    breaks: Callable[[Site, Keeper], None]
    note: str = ""
    lacks: Callable[[Site], str] = lambda _: ""
    recovery_limit_s: float = math.inf


def _killed(service: str) -> Scenario:
    return Scenario(f"kill -9 of {service}", lambda site, _: site.kill(service))


def _stopped(service: str) -> Scenario:
    return Scenario(f"SIGTERM of {service}, then a restart", lambda site, _: site.stop(service))


def _paused(service: str, hang_s: float = HANG_S) -> Scenario:
    return Scenario(f"{service} hangs for {hang_s:g} s", lambda site, _: site.pause(service, hang_s))


def _cut(service: str, network: str, other: str) -> Scenario:
    def breaks(site: Site, _: Keeper) -> None:
        with site.cut(service, network):
            time.sleep(CUT_S)

    return Scenario(f"network cut between {service} and {other} for {CUT_S:g} s", breaks)


def _off(service: str, off_s: int) -> Scenario:
    def breaks(site: Site, _: Keeper) -> None:
        with site.clock(service, off_s):
            time.sleep(WRONG_S)

    by = "an hour" if abs(off_s) == HOUR_S else f"{abs(off_s) // DAY_S} days"
    title = f"the clock of {service} is {by} {'ahead' if off_s > 0 else 'behind'}"
    return Scenario(title, breaks, lacks=lambda _: "" if CLOCK else "libfaketime")


def _disk(site: Site) -> str:
    return "" if site.disk else "the right to mount a separate disk"


def _wiped(site: Site, _: Keeper) -> None:
    site.wipe_redis()


def _lost_volume(site: Site, _: Keeper) -> None:
    site.lose_redis_volume()


def _full(site: Site, _: Keeper) -> None:
    with site.full_disk():
        time.sleep(WITHOUT_S)
    site.kill("store")  # SeaweedFS keeps its volumes read-only after a disk was full


def _read_only(site: Site, _: Keeper) -> None:
    with site.read_only_disk():
        time.sleep(WITHOUT_S)


def _unreadable(site: Site, keeper: Keeper) -> None:
    """Damage a separate job's records; the others must end, and this one must be shown and deletable."""
    job_id = keeper.submit(keeper.first)
    assert job_id is not None
    _ended(keeper, job_id, time.monotonic() + 60)
    keeper.kept.remove((job_id, keeper.first))
    site.in_setup(DAMAGE.format(id=job_id) + f'store.delete("jobs/{job_id}/end.json")')
    site.wipe_redis()  # so that maintenance reads every record
    assert keeper.get(f"/v1/jobs/{job_id}").json()["problem"]["type"] == "/problems/unreadable-record"
    assert job_id in {job["id"] for job in keeper.get("/v1/jobs?limit=100").json()["jobs"]}
    keeper.delete(job_id)


def _promoted(site: Site, keeper: Keeper) -> None:
    site.in_setup(PUBLISH)
    keeper.promote(OTHER)
    time.sleep(2)
    keeper.promote(_starter())


def _corrupted(site: Site, keeper: Keeper) -> None:
    site.in_setup(PUBLISH)
    keeper.promote(OTHER)
    site.in_setup(CORRUPT)
    site.kill("worker")  # which may have loaded it already
    deadline = time.monotonic() + 60
    keeper.promote(_starter())
    _serves_starter(keeper, deadline)
    champion = f'open_store(settings()).put("models/champion.json", {_pointer()!r}.encode())'
    site.in_setup(f"from metseg.storage import open_store\nfrom metseg.settings import settings\n{champion}")
    job_id = keeper.submit(keeper.first)
    assert job_id is not None
    _ended(keeper, job_id, time.monotonic() + 60)
    warnings = keeper.get(f"/v1/jobs/{job_id}/result").json()["warnings"]
    assert any(OTHER in warning for warning in warnings), "the worker did not say that it kept the old model"
    keeper.promote(_starter())


def _pointer() -> str:
    card = ModelCard.model_validate_json((ROOT / "infra/starter-model/card.json").read_bytes())
    return f'{{"version": "{OTHER}", "sha256": "{card.sha256}", "promoted_at": "2026-01-01T00:00:00Z"}}'


def _serves_starter(keeper: Keeper, deadline: float) -> None:
    job_id = keeper.submit(keeper.first)
    assert job_id is not None
    _ended(keeper, job_id, deadline)


def _ended(keeper: Keeper, job_id: str, deadline: float) -> None:
    assert keeper.end(job_id, deadline) == ("succeeded", ""), "a job of a healthy worker did not succeed"


def _starter() -> str:
    return ModelCard.model_validate_json((ROOT / "infra/starter-model/card.json").read_bytes()).version


def _out_of_memory(site: Site, _: Keeper) -> None:
    with site.memory("worker", "160m"):
        site.until_restarted("worker")
        time.sleep(WITHOUT_S)
    site.kill("worker")


def _power_cut(site: Site, _: Keeper) -> None:
    site.power_cut()


SHORT = [_killed("worker"), Scenario("Redis is flushed", _wiped), _killed("store")]
SCENARIOS = [
    *SHORT,
    *(_killed("api"), _killed("redis")),
    Scenario("Redis lost with its volume", _lost_volume),
    *(_stopped(service) for service in ("worker", "api", "redis", "store")),
    *(_paused(service) for service in ("worker", "api", "store")),
    *(_paused("redis", hang_s)._replace(recovery_limit_s=HUNG_REDIS_RECOVERY_S) for hang_s in HANGS_S),
    *(_cut("worker", "queue", "Redis"), _cut("api", "queue", "Redis")),
    *(_cut("worker", "objects", "store"), _cut("api", "objects", "store")),
    _cut("api", "front", "the page, and all clients,"),
    *(_off(service, off_s) for service in ("api", "worker") for off_s in (HOUR_S, -HOUR_S, 8 * DAY_S, -8 * DAY_S)),
    Scenario("the records of one job are damaged, and Redis is flushed", _unreadable),
    Scenario("the store's disk is full", _full, "the store is restarted", _disk),
    Scenario("the store's disk is read-only", _read_only, "the store is restarted", _disk),
    Scenario("a promotion and a rollback under load", _promoted),
    Scenario("the champion's file is damaged", _corrupted, "the worker keeps the previous model and warns"),
    Scenario("the worker has 160 MB of memory", _out_of_memory),
    Scenario(
        "the largest study, with the memory that compose allows",
        largest_study,
        note="one slice more is refused with 413",
    ),
    Scenario("24 uploads of one key with 130,000 elements each", starved_key),
    Scenario("700 idle and slow connections", idle_connections),
    Scenario("power cut of all services", _power_cut),
]
