"""Split patients into train, validation and test: by person, stratified, and the same for the same seed."""

import hashlib
import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from metseg.errors import DatasetError
from metseg_trainer.data.dataset import Patient
from metseg_trainer.data.layouts import person

__all__ = ["Split", "by_slice", "check", "folds", "read", "sha256", "split", "without_site", "write"]

SMALLEST_SITE = 6
LOADS = 3


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


def split(
    patients: Sequence[Patient], seed: int, test_fraction: float = 0.2, validation_fraction: float = 0.1
) -> Split:
    """Split by person, so that each side has the same mix of sites and of lesion load.

    A stratum is a site (small ones pooled) times a third of the lesion load; each gives to a side by its share,
    rounded by largest remainder. Where the folders name a test side, it is taken as it is.

    Args:
        patients: as `dataset.scan` gives them, in any order.
        seed: decides who is drawn within a stratum.
        test_fraction: of all persons.
        validation_fraction: of the persons that are not in the test side.

    Raises:
        DatasetError: too few persons for three sides.
    """
    units = _units(patients)
    given = {patient.id for patient in patients if patient.part == "test"}
    test = [unit for unit in units if given.intersection(unit.ids)]
    rest = [unit for unit in units if unit not in test]
    needed = 2 if test else 3
    if len(rest) < needed:
        raise DatasetError(
            f"Training needs at least {needed} patients{' beside those in test/' if test else ''}, for a side each; "
            f"the folder has {len(rest)}. Put the slices of each patient in a folder of their own."
        )
    if not test:
        test = _draw(rest, _share(len(rest), test_fraction, leave=2), f"test {seed}")
        rest = [unit for unit in rest if unit not in test]
    validation = _draw(rest, _share(len(rest), validation_fraction, leave=1), f"validation {seed}")
    result = Split(*(_ids(side) for side in ([unit for unit in rest if unit not in validation], validation, test)))
    check(result, patients)
    return result


def folds(patients: Sequence[Patient], count: int, seed: int, validation_fraction: float = 0.1) -> list[Split]:
    """Split for cross-validation: every patient is tested once, in one of `count` folds.

    Folds are dealt by person and stratum, as `split` draws; a tenth of the rest of each fold validates.

    Raises:
        DatasetError: there are fewer persons than a side each of every fold needs, or fewer than 2 folds are asked for.
    """
    units = _units(patients)
    if count < 2 or len(units) < max(count, 3):
        raise DatasetError(f"{len(units)} patients cannot be dealt into {count} folds of their own; ask for 2 or more.")
    dealt = [
        unit
        for _, members in sorted(_strata(units).items())
        for unit in sorted(members, key=lambda unit: _drawn(f"fold {seed}", unit.name))
    ]
    return [_around(dealt[fold::count], units, f"fold {fold} {seed}", validation_fraction) for fold in range(count)]


def without_site(patients: Sequence[Patient], site: str, seed: int, validation_fraction: float = 0.1) -> Split:
    """Train on all sites but one, and test on that one.

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


def by_slice(patients: Sequence[Patient], seed: int) -> tuple[list[Patient], Split]:
    """Slices dealt at random, as splits must not be: only to measure how much such a leak flatters.

    Returns:
        Each patient as up to three, `<id>/train`, `<id>/validation` and `<id>/test`, with the slices that fell on that
        side (70%, 10%, 20%), and the split of these.
    """
    parts: list[Patient] = []
    for patient in patients:
        lots = {pair: _drawn(f"slice {seed}", patient.id, pair.name)[0] / 256 for pair in patient.slices}
        for side, (low, high) in {"train": (0.0, 0.7), "validation": (0.7, 0.8), "test": (0.8, 1.0)}.items():
            slices = tuple(pair for pair, lot in lots.items() if low <= lot < high)
            if slices:
                parts.append(replace(patient, id=f"{patient.id}/{side}", slices=slices, part=None))
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


def check(split: Split, patients: Sequence[Patient]) -> None:
    """Refuse a split that would let a figure be measured on what was learned.

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
        fault = "misses" if id in known else "names the unknown"
        raise DatasetError(f"The split {fault} patient {id}; split again after the data have changed.")
    for patient in patients:
        if patient.part == "test" and sides[patient.id] != "test":
            raise DatasetError(f"Patient {patient.id} lies in test/, but the split has it in {sides[patient.id]}.")
    _one_side(((person(patient.id), patient.id) for patient in patients), sides, "are of the same person")
    _one_side(_contents(patients), sides, "hold the same image")


def write(split: Split, path: Path) -> None:
    """Write split.json."""
    partial = path.with_suffix(f".{os.getpid()}")
    partial.write_bytes(_bytes(split))
    partial.replace(path)


def read(path: Path) -> Split:
    """Read split.json.

    Raises:
        DatasetError: the file is none.
    """
    try:
        content: Mapping[str, list[str]] = json.loads(path.read_bytes())
        sides = {side: tuple(map(str, content[side])) for side in ("train", "validation", "test")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path} is not a split as metseg writes it; remove it to split again.") from error
    return Split(**sides)


def sha256(split: Split) -> str:
    """The sha256 of split.json."""
    return hashlib.sha256(_bytes(split)).hexdigest()


def _bytes(split: Split) -> bytes:
    return (json.dumps(asdict(split), indent=2) + "\n").encode()


def _ids(units: Iterable[_Unit]) -> tuple[str, ...]:
    return tuple(sorted(id for unit in units for id in unit.ids))


def _units(patients: Sequence[Patient]) -> list[_Unit]:
    persons: dict[str, list[Patient]] = defaultdict(list)
    for patient in sorted(patients, key=lambda patient: patient.id):
        persons[person(patient.id)].append(patient)
    return [
        _Unit(name, group[0].site, sum(study.lesion_pixels for study in group), tuple(study.id for study in group))
        for name, group in persons.items()
    ]


def _share(count: int, fraction: float, leave: int) -> int:
    return min(max(round(count * fraction), 1), count - leave)


def _strata(units: Sequence[_Unit]) -> dict[tuple[str, int], list[_Unit]]:
    """Units by site and third of the lesion load; sites too small for thirds of their own are one."""
    sizes = Counter(unit.site for unit in units)
    by_site: dict[str, list[_Unit]] = defaultdict(list)
    for unit in units:
        by_site[unit.site if sizes[unit.site] >= SMALLEST_SITE else ""].append(unit)
    strata: dict[tuple[str, int], list[_Unit]] = defaultdict(list)
    for site, members in sorted(by_site.items()):
        for rank, unit in enumerate(sorted(members, key=lambda unit: (unit.lesion_pixels, unit.name))):
            strata[site, rank * LOADS // len(members)].append(unit)
    return strata


def _draw(units: Sequence[_Unit], count: int, lot: str) -> list[_Unit]:
    """`count` units, each stratum giving by its share of all."""
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
    """A place in an order as good as random, the same on every machine and with every library's version."""
    return hashlib.sha256(repr((lot, *name)).encode()).digest()


def _one_side(members: Iterable[tuple[str, str]], sides: Mapping[str, str], reason: str) -> None:
    """Refuse what belongs together by its key but lies on different sides."""
    first: dict[str, str] = {}
    for key, id in members:
        other = first.setdefault(key, id)
        if sides[other] != sides[id]:
            raise DatasetError(
                f"Patients {other} (in {sides[other]}) and {id} (in {sides[id]}) {reason}; keep one of both, or give "
                "them one folder."
            )


def _contents(patients: Sequence[Patient]) -> Iterable[tuple[str, str]]:
    """The hash of each image that occurs more than once, and whose it is; blank slices may well be equal."""
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
