"""Reviewed studies from the store: those that readers allow to be used for training, as a folder of volumes.

The trainer reads the copies that the gateway keeps for it below `training/`; it has no access to jobs
(`metseg.jobs.training_studies`). A patient keeps their side of the split while further studies arrive.
"""

import hashlib
import io
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path

from metseg import formats
from metseg.contracts import STRUCTURES, Structure
from metseg.errors import DatasetError, MetsegError, NotFound
from metseg.imaging import ROLES
from metseg.jobs import TRAINING_SLICES, TrainingStudies, TrainingStudy
from metseg.results import SliceArchive
from metseg.storage import ObjectStore
from metseg_trainer.data.audit import Audit
from metseg_trainer.data.dataset import Patient
from metseg_trainer.data.layouts import LABELS_FILE
from metseg_trainer.data.leakage import check_split
from metseg_trainer.data.scan import scan_folder
from metseg_trainer.data.split import TEST_SHARE, VALIDATION_SHARE
from metseg_trainer.data.split_file import Split

__all__ = ["REVIEWED_SITE", "fetch_reviewed", "scan_reviewed", "split_reviewed"]

REVIEWED_SITE = "reviewed"
"""The site of patients from reviewed studies."""
MIN_PERSONS = 3
"""One for each side."""
NAMES = (*ROLES, *STRUCTURES)


def fetch_reviewed(store: ObjectStore, folder: Path) -> None:
    """Download all reviewed studies that may be used for training; a folder that exists is left as it is.

    Args:
        store: of the deployment.
        folder: for the studies: `PERSON/CASE/` with a NIfTI volume per sequence and known structure, and a labels.yaml.

    Raises:
        DatasetError: there is no such study.
        StoreUnavailable: the store cannot be reached.
    """
    if folder.is_dir():
        return
    draft = folder.with_name(f".{folder.name}")
    shutil.rmtree(draft, ignore_errors=True)
    written = [_write(store, study, draft) for study in TrainingStudies(store).studies()]
    if not any(written):
        raise DatasetError("The store has no reviewed study that may be used for training.")
    lines = [f'  {name}: "{{person}}/{{case}}/{name}.nii.gz"\n' for name in NAMES]
    (draft / LABELS_FILE).write_text(f"files:\n{''.join(lines)}", encoding="utf-8")
    draft.rename(folder)


def scan_reviewed(folder: Path, structure: Structure = "whole") -> tuple[list[Patient], Audit]:
    """Read the reviewed studies that `fetch_reviewed` wrote; their patients are of the site `REVIEWED_SITE`.

    Args:
        folder: as it was given to `fetch_reviewed`.
        structure: that is learned.

    Returns:
        As `scan_folder`.

    Raises:
        DatasetError: see `scan_folder`.
    """
    patients, audit = scan_folder(folder, structure)
    return [replace(patient, site=REVIEWED_SITE) for patient in patients], audit


def split_reviewed(patients: Sequence[Patient], seed: int) -> Split:
    """Split reviewed studies by person, about 20% for testing and 8% for validation.

    The side is drawn by the person alone, and each side has one person or more. So a training patient does not become
    a test patient when studies are added, and a network can be trained further on the larger set.

    Args:
        patients: reviewed studies.
        seed: of the draw.

    Returns:
        The split.

    Raises:
        DatasetError: the studies are of fewer than three persons.
    """
    draws = {patient.person: _draw(patient.person, seed) for patient in patients}
    if len(draws) < MIN_PERSONS:
        raise DatasetError(
            f"Reviewed studies of {MIN_PERSONS} patients or more are needed, one for each side; there are {len(draws)}."
        )
    ordered = sorted(draws, key=draws.__getitem__)
    limit = TEST_SHARE + (1 - TEST_SHARE) * VALIDATION_SHARE
    validation = [person for person in ordered if TEST_SHARE <= draws[person] < limit]
    rest = [person for person in ordered if person not in validation]
    test = [person for person in rest if draws[person] < TEST_SHARE] or rest[:1]
    validation = validation or [person for person in ordered if person not in test][:1]
    sides = dict.fromkeys(test, "test") | dict.fromkeys(validation, "validation")
    split = Split(*(_ids(patients, sides, side) for side in ("train", "validation", "test")))
    check_split(split, patients)
    return split


def _ids(patients: Iterable[Patient], sides: dict[str, str], side: str) -> tuple[str, ...]:
    return tuple(sorted(patient.id for patient in patients if sides.get(patient.person, "train") == side))


def _draw(person: str, seed: int) -> float:
    """A number in [0, 1), the same on every machine."""
    return int.from_bytes(hashlib.sha256(f"reviewed {seed} {person}".encode()).digest()[:8]) / 2**64


def _write(store: ObjectStore, study: TrainingStudy, root: Path) -> bool:
    """Write the volumes of a study; False where it was withdrawn meanwhile."""
    folder = root / study.person / study.case
    try:
        slices = store.get(f"{study.key}/{TRAINING_SLICES}")
        masks = {structure: store.get(f"{study.key}/{structure}.nii.gz") for structure in study.structures}
    except NotFound:
        return False
    folder.mkdir(parents=True)
    for structure, mask in masks.items():
        (folder / f"{structure}.nii.gz").write_bytes(mask)
    archive = SliceArchive(io.BytesIO(slices))
    try:
        for role in study.roles:
            chunks = formats.write_display_volume(io.BytesIO(masks["whole"]), _pngs(archive), ROLES.index(role))
            (folder / f"{role}.nii.gz").write_bytes(b"".join(chunks))
    except MetsegError as error:
        raise DatasetError(f"The reviewed study {study.case} in the store is damaged.") from error
    return True


def _pngs(archive: SliceArchive) -> Iterable[bytes]:
    with suppress(NotFound):
        yield from map(archive.read_slice, count())
