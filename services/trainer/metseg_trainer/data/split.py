"""Split patients into train, validation and test: by person, stratified, and the same for the same seed.

scikit-learn's StratifiedGroupKFold is not used: it stratifies by one label, while a side here takes its share of every
site and lesion load by largest remainder, and its draws follow the releases of NumPy and scikit-learn, so that a split
could not be drawn again from a seed years later. Model cards name the sha256 of a split that a seed gives.
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from metseg.atomic_io import atomic_write
from metseg.errors import DatasetError
from metseg_trainer.data.dataset import Patient
from metseg_trainer.data.layouts import person_of

__all__ = [
    "Split",
    "check_split",
    "k_fold_splits",
    "leave_site_out_split",
    "read_split",
    "split_by_slice",
    "split_patients",
    "split_sha256",
    "write_split",
]

MIN_SITE_PERSONS = 6
"""Smaller sites are pooled."""
LOADS = 3
"""Classes of lesion load within a site."""


@dataclass(frozen=True)
class Split:
    """Patient ids by side, each side sorted."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True)
class _Unit:
    """What must stay on one side: all studies of one person."""

    name: str
    site: str
    lesion_pixels: int
    ids: tuple[str, ...]


def split_patients(
    patients: Sequence[Patient], seed: int, test_fraction: float = 0.2, validation_fraction: float = 0.1
) -> Split:
    """Split by person, so that each side has the same mix of sites and of lesion load.

    A stratum is a site (small ones pooled) times a third of the lesion load; each gives to a side by its share,
    rounded by largest remainder. Where the folders name a test side, it is taken as it is.

    Args:
        patients: from `scan_folder`, in any order.
        seed: decides who is drawn within a stratum.
        test_fraction: of all persons.
        validation_fraction: of the persons that are not on the test side.

    Returns:
        The split, checked.

    Raises:
        DatasetError: too few persons for three sides.
    """
    units = _units(patients)
    given = {patient.id for patient in patients if patient.subset == "test"}
    test = [unit for unit in units if given.intersection(unit.ids)]
    rest = [unit for unit in units if unit not in test]
    needed = 2 if test else 3
    if len(rest) < needed:
        raise DatasetError(
            f"Training needs at least {needed} patients{' in addition to those in test/' if test else ''}, one for "
            f"each side; the folder has {len(rest)}. Put the slices of each patient in a separate folder."
        )
    if not test:
        test = _draw(rest, _share(len(rest), test_fraction, leave=2), f"test {seed}")
        rest = [unit for unit in rest if unit not in test]
    validation = _draw(rest, _share(len(rest), validation_fraction, leave=1), f"validation {seed}")
    result = Split(*(_ids(side) for side in ([unit for unit in rest if unit not in validation], validation, test)))
    check_split(result, patients)
    return result


def k_fold_splits(patients: Sequence[Patient], count: int, seed: int, validation_fraction: float = 0.1) -> list[Split]:
    """Split for cross-validation: every patient is tested once, in one of `count` folds.

    Persons are assigned to folds stratum by stratum, as in `split_patients`.

    Args:
        patients: from `scan_folder`, in any order.
        count: of the folds.
        seed: decides who is drawn within a stratum.
        validation_fraction: of the persons that a fold does not test.

    Returns:
        A split for each fold.

    Raises:
        DatasetError: there are too few persons for the folds, or fewer than 2 folds are asked for.
    """
    units = _units(patients)
    if count < 2 or len(units) < max(count, 3):
        raise DatasetError(
            f"{len(units)} patients cannot be split into {count} folds; ask for 2 or more, at most "
            "one for each patient."
        )
    ordered = [
        unit
        for _, members in sorted(_strata(units).items())
        for unit in sorted(members, key=lambda unit: _drawn(f"fold {seed}", unit.name))
    ]
    return [_around(ordered[fold::count], units, f"fold {fold} {seed}", validation_fraction) for fold in range(count)]


def leave_site_out_split(patients: Sequence[Patient], site: str, seed: int, validation_fraction: float = 0.1) -> Split:
    """Train on all sites but one, and test on that one.

    Args:
        patients: from `scan_folder`, in any order.
        site: that is tested on.
        seed: decides who validates.
        validation_fraction: of the persons of other sites.

    Returns:
        The split.

    Raises:
        DatasetError: no patient is of that site, or too few are of others.
    """
    units = _units(patients)
    test = [unit for unit in units if unit.site == site]
    if not test or len(units) - len(test) < 2:
        raise DatasetError(
            f"Site {site} cannot be left out: {len(test)} patients are of it and {len(units) - len(test)} of others."
        )
    return _around(test, units, f"without {site} {seed}", validation_fraction)


def split_by_slice(patients: Sequence[Patient], seed: int) -> tuple[list[Patient], Split]:
    """Split slices at random, as must not be done: only to measure how much such a leak improves the figures.

    Args:
        patients: from `scan_folder`, in any order.
        seed: decides the side of each slice.

    Returns:
        Each patient as up to three, `<id>/train`, `<id>/validation` and `<id>/test`, with the slices of that side (70%,
        10%, 20%), and the split of these.
    """
    parts: list[Patient] = []
    for patient in patients:
        lots = {pair: _drawn(f"slice {seed}", patient.id, pair.name)[0] / 256 for pair in patient.slices}
        for side, (low, high) in {"train": (0.0, 0.7), "validation": (0.7, 0.8), "test": (0.8, 1.0)}.items():
            slices = tuple(pair for pair, lot in lots.items() if low <= lot < high)
            if slices:
                parts.append(replace(patient, id=f"{patient.id}/{side}", slices=slices, subset=None))
    sides = {
        side: tuple(part.id for part in parts if part.id.endswith(f"/{side}"))
        for side in ("train", "validation", "test")
    }
    return parts, Split(**sides)


def _around(test: Sequence[_Unit], units: Sequence[_Unit], lot: str, validation_fraction: float) -> Split:
    """The split that tests on some units, validates on a share of the others and learns from the rest."""
    rest = [unit for unit in units if unit not in test]
    validation = _draw(rest, _share(len(rest), validation_fraction, leave=1), lot)
    return Split(_ids(unit for unit in rest if unit not in validation), _ids(validation), _ids(test))


def check_split(split: Split, patients: Sequence[Patient]) -> None:
    """Refuse a split that would evaluate on training data.

    Args:
        split: to check.
        patients: all that it must cover.

    Raises:
        DatasetError: a patient is on two sides, missing, twice or unknown; a person's studies or byte-identical
            images under two names lie on different sides; a patient of the folder test/ is not in the test side.
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
            raise DatasetError(f"Patient {patient.id} lies in test/, but the split has it in {sides[patient.id]}.")
    _one_side(((person_of(patient.id), patient.id) for patient in patients), sides, "are of the same person")
    _one_side(_contents(patients), sides, "hold the same image")


def write_split(split: Split, path: Path) -> None:
    """Write split.json.

    Args:
        split: to write.
        path: of the file, which is replaced atomically.
    """
    with atomic_write(path) as file:
        file.write(_bytes(split))


def read_split(path: Path) -> Split:
    """Read split.json.

    Raises:
        DatasetError: the file is not a split.
    """
    try:
        content: Mapping[str, list[str]] = json.loads(path.read_bytes())
        sides = {side: tuple(map(str, content[side])) for side in ("train", "validation", "test")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path} is not a split that metseg has written; remove it to split again.") from error
    return Split(**sides)


def split_sha256(split: Split) -> str:
    """The sha256 of split.json."""
    return hashlib.sha256(_bytes(split)).hexdigest()


def _bytes(split: Split) -> bytes:
    return (json.dumps(asdict(split), indent=2) + "\n").encode()


def _ids(units: Iterable[_Unit]) -> tuple[str, ...]:
    return tuple(sorted(id for unit in units for id in unit.ids))


def _units(patients: Sequence[Patient]) -> list[_Unit]:
    persons: dict[str, list[Patient]] = defaultdict(list)
    for patient in sorted(patients, key=lambda patient: patient.id):
        persons[person_of(patient.id)].append(patient)
    return [
        _Unit(name, group[0].site, sum(study.lesion_pixels for study in group), tuple(study.id for study in group))
        for name, group in persons.items()
    ]


def _share(count: int, fraction: float, leave: int) -> int:
    return min(max(round(count * fraction), 1), count - leave)


def _strata(units: Sequence[_Unit]) -> dict[tuple[str, int], list[_Unit]]:
    """Units by site and third of the lesion load; small sites are pooled."""
    sizes = Counter(unit.site for unit in units)
    by_site: dict[str, list[_Unit]] = defaultdict(list)
    for unit in units:
        by_site[unit.site if sizes[unit.site] >= MIN_SITE_PERSONS else ""].append(unit)
    strata: dict[tuple[str, int], list[_Unit]] = defaultdict(list)
    for site, members in sorted(by_site.items()):
        for rank, unit in enumerate(sorted(members, key=lambda unit: (unit.lesion_pixels, unit.name))):
            strata[site, rank * LOADS // len(members)].append(unit)
    return strata


def _draw(units: Sequence[_Unit], count: int, lot: str) -> list[_Unit]:
    """`count` units, from each stratum by its share of all."""
    strata = _strata(units)
    exact = {stratum: count * len(members) / len(units) for stratum, members in strata.items()}
    quota = {stratum: int(share) for stratum, share in exact.items()}
    by_remainder = sorted(strata, key=lambda stratum: (quota[stratum] - exact[stratum], _drawn(lot, *stratum)))
    for stratum in by_remainder[: count - sum(quota.values())]:
        quota[stratum] += 1
    return [
        unit
        for stratum, members in strata.items()
        for unit in sorted(members, key=lambda unit: _drawn(lot, unit.name))[: quota[stratum]]
    ]


def _drawn(lot: str, *name: object) -> bytes:
    """A sort key as good as random, the same on every machine and with every version of a library."""
    return hashlib.sha256(repr((lot, *name)).encode()).digest()


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
    """The hash of each image that occurs more than once, and its patient; blank slices may well be equal."""
    holders: dict[str, list[tuple[str, Path]]] = defaultdict(list)
    for patient in patients:
        for pair in patient.slices:
            digest = hashlib.blake2b(pair.image.read_bytes(), digest_size=16).hexdigest()
            holders[digest].append((patient.id, pair.image))
    for digest, found in holders.items():
        if len({id for id, _ in found}) > 1 and not _blank(found[0][1]):
            yield from ((digest, id) for id, _ in found)


def _blank(path: Path) -> bool:
    with Image.open(path) as image:
        levels = np.asarray(image)
    return bool(levels.min() == levels.max())
