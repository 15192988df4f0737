"""Leakage: a split must not put a person, or an image, on two sides."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from metseg.errors import DatasetError
from metseg_trainer.data.dataset import Patient
from metseg_trainer.data.split_file import Split

__all__ = ["check_split"]

MASKS = frozenset({"mask", "truth"})


def check_split(split: Split, patients: Sequence[Patient]) -> None:
    """Refuse a split that would evaluate on training data.

    Args:
        split: to check.
        patients: all that it must cover.

    Raises:
        DatasetError: a patient is on two sides, missing, twice or unknown; a person's studies or byte-identical
            images under two names are on different sides; a patient of the folder test/ is not in the test side.
    """
    sides: dict[str, str] = {}
    for side, ids in asdict(split).items():
        for id in ids:
            if id in sides:
                raise DatasetError(f"The split has patient {id} twice (in {sides[id]} and {side}); split again.")
            sides[id] = side
    known = {patient.id: patient for patient in patients}
    for id in sorted(sides.keys() ^ known.keys()):
        fault = "lacks" if id in known else "names the unknown"
        raise DatasetError(f"The split {fault} patient {id}; the data have changed, so split again.")
    for patient in patients:
        if patient.subset == "test" and sides[patient.id] != "test":
            raise DatasetError(f"Patient {patient.id} is in test/, but the split has it in {sides[patient.id]}.")
    _one_side(((patient.person, patient.id) for patient in patients), sides, "are of the same person")
    _one_side(_contents(patients), sides, "hold the same image")


def _one_side(members: Iterable[tuple[str, str]], sides: Mapping[str, str], reason: str) -> None:
    """Refuse patients of one key on different sides."""
    first: dict[str, str] = {}
    for key, id in members:
        other = first.setdefault(key, id)
        if sides[other] != sides[id]:
            raise DatasetError(
                f"Patients {other} (in {sides[other]}) and {id} (in {sides[id]}) {reason}; keep one of them, or put "
                "both in one folder."
            )


def _contents(patients: Sequence[Patient]) -> Iterable[tuple[str, str]]:
    """The hash of each image that occurs more than once, and its patient; blank slices may be equal."""
    images = [(patient.id, path) for patient in patients for kind, path in patient.paths() if kind not in MASKS]
    sizes = Counter(path.stat().st_size for _, path in images)
    holders: dict[str, list[tuple[str, Path]]] = defaultdict(list)
    for id, path in images:
        if sizes[path.stat().st_size] > 1:
            holders[hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()].append((id, path))
    for digest, found in holders.items():
        if len({id for id, _ in found}) > 1 and not _blank(found[0][1]):
            yield from ((digest, id) for id, _ in found)


def _blank(path: Path) -> bool:
    """Whether a slice has one level only. A constant volume is refused when it is read."""
    try:
        with Image.open(path) as image:
            levels = np.asarray(image)
    except UnidentifiedImageError:
        return False
    return bool(levels.min() == levels.max())
