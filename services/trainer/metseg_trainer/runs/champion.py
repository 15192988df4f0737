"""The champion of the registry as a folder, for a training that starts from it or takes its model of the whole."""

import shutil
from contextlib import suppress
from pathlib import Path

from metseg.errors import NotFound
from metseg.registry import CARD, CHECKPOINT, FULL_PRECISION_MODEL, MODEL, Registry
from metseg.storage import ObjectStore
from metseg_trainer.data import SPLIT
from metseg_trainer.runs.run_store import run_key

__all__ = ["CHAMPION", "fetch_champion"]

CHAMPION = "champion"
"""The word for the champion in options that name the folder of a version, and the folder of its files."""


def fetch_champion(store: ObjectStore, folder: Path) -> None:
    """Download the champion; a folder that exists is left as it is.

    Args:
        store: of the registry.
        folder: for its card, models and weights, and for the split of its training if that was uploaded.

    Raises:
        NotFound: there is no champion.
        ModelRejected: a model of it is missing or damaged.
        StoreUnavailable: the store cannot be reached.
    """
    if folder.is_dir():
        return
    registry = Registry(store)
    champion = registry.champion()
    if champion is None:
        raise NotFound("The registry has no champion yet; name the folder of a version.")
    card, model = registry.load(champion.version)
    files = {CARD: registry.file(card.version, CARD), MODEL: model}
    if card.full_precision is not None:
        files[FULL_PRECISION_MODEL] = registry.full_precision_model(card)
    with suppress(NotFound):
        files[CHECKPOINT] = registry.file(card.version, CHECKPOINT)
    with suppress(NotFound):
        files[SPLIT] = store.get(run_key(card.version, SPLIT))
    draft = folder.with_name(f".{folder.name}")
    shutil.rmtree(draft, ignore_errors=True)  # of a download that was interrupted, perhaps of another champion
    draft.mkdir(parents=True)
    for name, content in files.items():
        (draft / name).write_bytes(content)
    draft.rename(folder)
