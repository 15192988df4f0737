"""Folders of slices: images and masks paired by name, with each pair's patient, site and subset.

Two layouts are read, both by the same rule. The public one: `TCGA_CS_4941_19960909/TCGA_CS_4941_19960909_1.tif`
and `..._1_mask.tif`. The generic one: `train/` and `test/`, in each `images/` and `masks/` with equal names, or
`x.png` and `x_mask.png`; a subfolder is a patient; without one, the name before its last number is.
"""

import filecmp
import itertools
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from metseg.errors import DatasetError
from metseg_trainer.data.layouts.files import SUBSETS, list_files
from metseg_trainer.data.layouts.studies import FolderContents, PatientFiles, SliceFiles, Subset

__all__ = ["find_slices", "person_of", "site_of"]

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff"})
IMAGE_FOLDERS = frozenset({"images", "image"})
MASK_FOLDERS = frozenset({"masks", "mask"})
STUDY = re.compile(r"(?P<study>(?P<person>(?:TCGA|PHANTOM)_(?P<site>[A-Z0-9]{2})_[A-Z0-9]{4})(?:_\d{8})?)(?:_\d+)?")
BEFORE_LAST_NUMBER = re.compile(r"(?P<patient>.*?)[\s_.()-]*\d+\D*")


class FilePath(NamedTuple):
    """The information in a file's path."""

    path: Path
    subset: Subset | None
    folders: tuple[str, ...]
    stem: str
    mask: bool


def site_of(patient_id: str) -> str:
    """The clinic in the name of a study, `CS` for `TCGA_CS_4941_19960909`; `unknown` if there is none."""
    match = STUDY.search(patient_id)
    return match["site"] if match else "unknown"


def person_of(patient_id: str) -> str:
    """The person in the name of a study: two dates of one TCGA number are one person."""
    match = STUDY.search(patient_id)
    return match["person"] if match else patient_id


def find_slices(folder: Path) -> FolderContents | None:
    """Pair the images and masks below `folder` and group them by patient; None if it has no image file.

    A tree that is in the folder twice, as in the public archive, counts once.

    Raises:
        DatasetError: the folder cannot be listed, or a patient's name occurs in train/ and in test/.
    """
    groups: dict[tuple[str, Subset | None, tuple[str, ...]], dict[str, SliceFiles]] = defaultdict(dict)
    places = _places(folder)
    if not places:
        return None
    found = FolderContents("slices")
    shared = _shared_folders(places)
    nameless = 0
    for place in places:
        patient, named = _patient(place, shared)
        nameless += not named and not place.mask
        slices = groups[patient, place.subset, place.folders]
        before = slices.get(place.stem, SliceFiles(None, None))
        if (before.mask if place.mask else before.image) is not None:
            found.notes.append(f"{place.path.relative_to(folder)} has the name of another file and is left out")
            continue
        slices[place.stem] = before._replace(mask=place.path) if place.mask else before._replace(image=place.path)
    if nameless:
        found.notes.append(
            f"{nameless} images have only a number for a name, so their patients cannot be distinguished: each counts "
            "as a patient, and slices of one patient may be on both sides of the split; put each patient in a folder"
        )
    _without_copies(groups, found)
    return found


def _places(folder: Path) -> list[FilePath]:
    """Every image file below `folder`."""
    return [_place(folder, path) for path in list_files(folder) if path.suffix.lower() in SUFFIXES]


def _place(folder: Path, path: Path) -> FilePath:
    folders = path.relative_to(folder).parts[:-1]
    subset: Subset | None = None
    for index, name in enumerate(folders):
        if name.lower() in SUBSETS:
            subset, folders = SUBSETS[name.lower()], folders[index + 1 :]
            break
    mask = any(name.lower() in MASK_FOLDERS for name in folders) or path.stem.lower().endswith("_mask")
    stem = path.stem[: -len("_mask")] if path.stem.lower().endswith("_mask") else path.stem
    kept = tuple(name for name in folders if name.lower() not in IMAGE_FOLDERS | MASK_FOLDERS)
    return FilePath(path, subset, kept, stem, mask)


def _shared_folders(places: Sequence[FilePath]) -> int:
    """The number of leading folders common to all files, which hence name no patient."""
    chains = {place.folders for place in places if place.subset is None}
    if not chains:
        return 0
    depth = sum(1 for _ in itertools.takewhile(lambda level: len(set(level)) == 1, zip(*chains, strict=False)))
    if len(chains) > 1:
        return depth
    names = {_before_last_number(place.stem) for place in places if place.subset is None}
    return depth if len(names - {""}) > 1 else max(depth - 1, 0)


def _patient(place: FilePath, shared: int) -> tuple[str, bool]:
    """The patient's name, and whether the path contains one."""
    match = STUDY.fullmatch(place.stem)
    if match:
        return match["study"], True
    folders = place.folders if place.subset else place.folders[shared:]
    if folders:
        return folders[-1], True
    before = _before_last_number(place.stem)
    return (before, True) if before else ("/".join(filter(None, (place.subset, place.stem))), False)


def _before_last_number(stem: str) -> str:
    match = BEFORE_LAST_NUMBER.fullmatch(stem)
    return match["patient"] if match else stem


def _without_copies(
    groups: dict[tuple[str, Subset | None, tuple[str, ...]], dict[str, SliceFiles]],
    found: FolderContents,
) -> None:
    """Keep each study once; equally named folders with different content are distinguished by their whole path."""
    studies: list[PatientFiles] = []
    by_patient: dict[str, list[tuple[Subset | None, tuple[str, ...]]]] = defaultdict(list)
    for patient, subset, folders in groups:
        by_patient[patient].append((subset, folders))
    for patient, sources in sorted(by_patient.items()):
        if len({subset for subset, _ in sources}) > 1:
            raise DatasetError(
                f"Patient {patient} is in more than one of train/, test/ and the rest; give each patient a "
                "separate name and keep all of a patient's slices on one side."
            )
        kept: list[tuple[tuple[str, ...], PatientFiles]] = []
        sources.sort(key=lambda source: (-len(groups[patient, *source]), len(source[1]), source[1]))
        for subset, folders in sources:
            slices = groups[patient, subset, folders]
            if any(_copied(slices, study.slices) for _, study in kept):
                found.copies += len(slices)
            else:
                kept.append((folders, PatientFiles(patient, subset, slices)))
        if len(kept) > 1:
            found.notes.append(f"{len(kept)} different folders are named {patient}; they count as different patients")
            kept = [(folders, replace(study, id="/".join(_path(folders, patient)))) for folders, study in kept]
        studies += [study for _, study in kept]
    found.slices = studies


def _path(folders: tuple[str, ...], patient: str) -> tuple[str, ...]:
    return folders if folders[-1:] == (patient,) else (*folders, patient)


def _copied(slices: dict[str, SliceFiles], original: dict[str, SliceFiles]) -> bool:
    return all(
        stem in original and _same(files.image, original[stem].image) and _same(files.mask, original[stem].mask)
        for stem, files in slices.items()
    )


def _same(one: Path | None, other: Path | None) -> bool:
    if one is None or other is None:
        return one is other
    return filecmp.cmp(one, other, shallow=False)
