"""The one-shot set-up of a deployment: `python -m metseg_worker.setup`. Idempotent."""

import argparse
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path

from metseg import logs
from metseg.contracts import ModelCard
from metseg.errors import Conflict, MetsegError, StoreUnavailable
from metseg.registry import Registry
from metseg.settings import settings
from metseg.storage import open_store
from metseg_worker.store_users import hand_out

__all__ = ["main", "patiently", "seed"]

STARTER = Path("infra/starter-model")
"""Beside the code, in the repository as in the image."""
FILES = ("model.onnx", "model-fp32.onnx", "report.html")
PAUSE_S = 0.5

log = logging.getLogger("metseg_worker.setup")


def main(arguments: list[str] | None = None) -> int:
    """Wait for the store, make the bucket, seed the starter model; the exit status says how it went."""
    parser = argparse.ArgumentParser(prog="metseg_worker.setup", description=__doc__)
    parser.add_argument("--starter", type=Path, default=STARTER, help="folder with model.onnx and card.json")
    parser.add_argument("--timeout", type=float, default=90, metavar="SECONDS", help="to wait for the store")
    parser.add_argument("--keys", type=Path, metavar="FOLDER", help="hand out the store's keys of the services there")
    options = parser.parse_args(arguments)
    logs.configure()
    store = open_store(settings())

    def set_up() -> None:
        store.prepare(settings().job_days)
        seed(Registry(store), options.starter)
        if options.keys is not None:
            hand_out(settings(), options.keys)

    try:
        patiently(set_up, options.timeout)
    except MetsegError as error:
        log.error("set-up failed", extra={"reason": error.detail})
        return 1
    return 0


def patiently(step: Callable[[], None], timeout_s: float) -> None:
    """Do it again until the store answers all through: one that has just started may answer, and then not, for a while.

    Args:
        step: what may be done again.
        timeout_s: after which it is not begun anew.

    Raises:
        StoreUnavailable: it did not within that time.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return step()
        except StoreUnavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(PAUSE_S)


def seed(registry: Registry, folder: Path) -> None:
    """Publish the starter model if its version is new, and promote it if nothing serves yet.

    It also takes the place of an earlier version of the same model, whose card says less of it.

    Raises:
        ModelRejected: the folder's model is not the one that its card describes.
    """
    if not (folder / "card.json").is_file():
        log.warning("no starter model: nothing serves until a version is trained or promoted")
        return
    card = ModelCard.model_validate_json((folder / "card.json").read_bytes())
    files = {name: (folder / name).read_bytes() for name in FILES if (folder / name).is_file()}
    try:
        registry.publish(card, files)
        log.info("starter model published", extra={"model": card.version})
    except Conflict:
        log.info("starter model is there already", extra={"model": card.version})
    champion = registry.champion()
    if champion is None or (champion.sha256 == card.sha256 and _older(registry, champion.version, card)):
        registry.promote(card.version)
        log.info("starter model promoted", extra={"model": card.version})


def _older(registry: Registry, version: str, card: ModelCard) -> bool:
    """Whether a version that serves lacks what tells input unlike its data, which `card` has."""
    return card.familiarity is not None and registry.card(version).familiarity is None


if __name__ == "__main__":
    sys.exit(main())
