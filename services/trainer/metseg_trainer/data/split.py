"""Split patients into train, validation and test: by person, stratified, and the same for the same seed.

scikit-learn's StratifiedGroupKFold is not used: it stratifies by one label, while a side here has its share of every
site and lesion load by largest remainder, and its draws depend on the releases of NumPy and scikit-learn, so that a
split could not be reproduced from a seed years later. Model cards name the sha256 of the split of a seed.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from metseg.errors import DatasetError
from metseg_trainer.data.dataset import Patient
from metseg_trainer.data.leakage import check_split
from metseg_trainer.data.split_file import Split

__all__ = ["k_fold_splits", "leave_site_out_split", "split_by_slice", "split_patients"]

TEST_SHARE = 0.2
"""Of all persons."""
VALIDATION_SHARE = 0.1
"""Of the persons that are not on the test side."""
MIN_SITE_PERSONS = 6
"""Smaller sites are pooled."""
LOADS = 3
"""Classes of lesion load within a site."""


@dataclass(frozen=True)
class _Unit:
    """What must stay on one side: all studies of one person."""

    name: str
    site: str
    lesion_pixels: int
    ids: tuple[str, ...]


def split_patients(patients: Sequence[Patient], seed: int) -> Split:
    """Split by person, so that each side has the same mix of sites and of lesion load.

    A stratum is a site (small ones pooled) times a third of the lesion load; each gives to a side by its share,
    rounded by largest remainder. If the folders name a test side, it is used unchanged.

    Args:
        patients: from `scan_folder`, in any order.
        seed: decides who is drawn within a stratum.

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
        test = _draw(rest, _share(len(rest), TEST_SHARE, leave=2), f"test {seed}")
    result = _around(test, units, f"validation {seed}")
    check_split(result, patients)
    return result


def k_fold_splits(patients: Sequence[Patient], count: int, seed: int) -> list[Split]:
    """Split for cross-validation: every patient is tested once, in one of `count` folds.

    Persons are assigned to folds stratum by stratum, as in `split_patients`.

    Args:
        patients: from `scan_folder`, in any order.
        count: of the folds.
        seed: decides who is drawn within a stratum.

    Returns:
        A split for each fold.

    Raises:
        DatasetError: there are too few persons for the folds, or fewer than 2 folds are requested.
    """
    units = _units(patients)
    if count < 2 or len(units) < max(count, 3):
        raise DatasetError(
            f"{len(units)} patients cannot be split into {count} folds; request 2 or more, at most one per patient."
        )
    ordered = [
        unit
        for _, members in sorted(_strata(units).items())
        for unit in sorted(members, key=lambda unit: _drawn(f"fold {seed}", unit.name))
    ]
    return [_around(ordered[fold::count], units, f"fold {fold} {seed}") for fold in range(count)]


def leave_site_out_split(patients: Sequence[Patient], site: str, seed: int) -> Split:
    """Train on all sites but one, and test on that one.

    Args:
        patients: from `scan_folder`, in any order.
        site: the one tested on.
        seed: decides who validates.

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
    return _around(test, units, f"without {site} {seed}")


def split_by_slice(patients: Sequence[Patient], seed: int) -> tuple[list[Patient], Split]:
    """Split slices at random, only to measure how much such a leak improves the figures.

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


def _around(test: Sequence[_Unit], units: Sequence[_Unit], lot: str) -> Split:
    """The split that tests on some units, validates on a share of the others and trains on the rest."""
    rest = [unit for unit in units if unit not in test]
    validation = _draw(rest, _share(len(rest), VALIDATION_SHARE, leave=1), lot)
    return Split(_ids(unit for unit in rest if unit not in validation), _ids(validation), _ids(test))


def _ids(units: Iterable[_Unit]) -> tuple[str, ...]:
    return tuple(sorted(id for unit in units for id in unit.ids))


def _units(patients: Sequence[Patient]) -> list[_Unit]:
    persons: dict[str, list[Patient]] = defaultdict(list)
    for patient in sorted(patients, key=lambda patient: patient.id):
        persons[patient.person].append(patient)
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
    """A pseudo-random sort key, the same on every machine and with every version of a library."""
    return hashlib.sha256(repr((lot, *name)).encode()).digest()
