"""The one-shot set-up of a deployment: `python -m metseg_worker.setup`. Idempotent."""

import argparse
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path

from metseg import logs
from metseg.contracts import ModelCard
from metseg.errors import Conflict, MetsegError, NotFound, StoreUnavailable
from metseg.registry import CHECKPOINT, FULL_PRECISION_MODEL, MODEL, REPORT, Registry, read_card
from metseg.settings import settings
from metseg.storage import open_store
from metseg_worker.store_users import write_keys

__all__ = ["main", "retry_until_available", "seed"]

STARTER = Path("infra/starter-model")
"""Relative to the code, in the repository as in the image."""
OTHER_NETWORK = "other-network"
"""Folder in it with a version of the other network, which serves nothing but adds a view to the uncertainty of jobs."""
FILES = (MODEL, FULL_PRECISION_MODEL, REPORT, CHECKPOINT)
PAUSE_S = 0.5

log = logging.getLogger("metseg_worker.setup")


def main(arguments: list[str] | None = None) -> int:
    """Wait for the store, create the bucket and publish the starter model; returns the exit status."""
    parser = argparse.ArgumentParser(prog="metseg_worker.setup", description=__doc__)
    parser.add_argument("--starter", type=Path, default=STARTER, help="folder with model.onnx and card.json")
    parser.add_argument("--timeout", type=float, default=90, metavar="SECONDS", help="how long to wait for the store")
    parser.add_argument("--keys", type=Path, metavar="FOLDER", help="write the services' keys of the store there")
    options = parser.parse_args(arguments)
    logs.configure()
    store = open_store(settings())

    def set_up() -> None:
        store.prepare(settings().job_days)
        seed(Registry(store), options.starter)
        if options.keys is not None:
            write_keys(settings(), options.keys)

    try:
        retry_until_available(set_up, options.timeout)
    except MetsegError as error:
        log.error("set-up failed", extra={"reason": error.detail})
        return 1
    return 0


def retry_until_available(step: Callable[[], None], timeout_s: float) -> None:
    """Repeat a step until the store answers throughout: while a store starts, it may answer and then fail again.

    Args:
        step: may be repeated.
        timeout_s: seconds after which it is not repeated.

    Raises:
        StoreUnavailable: the store failed until then.
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
    """Publish the starter models whose versions are new, and promote the first if no version serves yet.

    The first also replaces an earlier version of the same model, whose card lacks this out-of-distribution reference.
    The second is of the other network and is never promoted.

    Args:
        registry: of the store.
        folder: with the model and its card, and with the folder of the other one.

    Raises:
        ModelRejected: a card cannot be read, or a folder's model is not the one that it describes.
    """
    card = _publish(registry, folder)
    if card is None:
        log.warning("no starter model: no version serves until one is trained or promoted")
        return
    _publish(registry, folder / OTHER_NETWORK)
    champion = registry.champion()
    if champion is None or (champion.sha256 == card.sha256 and _older(registry, champion.version, card)):
        registry.promote(card.version)
        log.info("starter model promoted", extra={"model": card.version})


def _publish(registry: Registry, folder: Path) -> ModelCard | None:
    """Publish the model of a folder if its version is new; returns its card, None without a model."""
    try:
        card = read_card(folder)
    except NotFound:
        return None
    files = {name: (folder / name).read_bytes() for name in FILES if (folder / name).is_file()}
    try:
        registry.publish(card, files)
        log.info("starter model published", extra={"model": card.version})
    except Conflict:
        log.info("starter model exists already", extra={"model": card.version})
    return card


def _older(registry: Registry, version: str, card: ModelCard) -> bool:
    """Whether the serving version has no out-of-distribution reference, or one of an earlier revision than `card`'s."""
    serving = registry.card(version).familiarity
    return card.familiarity is not None and (serving is None or serving.revision < card.familiarity.revision)


if __name__ == "__main__":
    sys.exit(main())
