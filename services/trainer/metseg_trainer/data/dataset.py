"""Patients: the usable part of a training folder, and how it is read."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from metseg import formats
from metseg.contracts import Structure
from metseg.errors import BadInput, DatasetError
from metseg.imaging import Mask, Volume
from metseg.settings import settings
from metseg_trainer.data.image_files import read_mask, reason, uploads
from metseg_trainer.data.layouts import Subset, VolumeFiles, person_of
from metseg_trainer.data.volumes import read_study

__all__ = ["Patient", "SlicePair", "VolumeSlice", "fingerprint", "load_patient"]


@dataclass(frozen=True)
class SlicePair:
    """A slice and its mask, one size; `name` is the image's stem and unique in its patient."""

    image: Path
    mask: Path
    name: str


@dataclass(frozen=True)
class VolumeSlice:
    """A slice of a volume; `name` is unique in its patient."""

    index: int
    name: str


@dataclass(frozen=True)
class Patient:
    """The usable slices of one patient in natural order.

    Attributes:
        id: the name of the folder or the files.
        site: the clinic, if the name has it as in the public data; otherwise `unknown`.
        slices: one or more; pairs of files, or slices of the volumes in `files`.
        lesion_pixels: of all masks of `structure` together.
        subset: the patient's side by the folders; None if they give none.
        files: of a study of volumes; None if each slice is a file.
        structure: that its truth is of, and that is learned from it.
    """

    id: str
    site: str
    slices: tuple[SlicePair | VolumeSlice, ...]
    lesion_pixels: int
    subset: Subset | None
    files: VolumeFiles | None = None
    structure: Structure = "whole"

    @property
    def person(self) -> str:
        """Whose study it is."""
        return person_of(self.id) if self.files is None else self.files.person

    def paths(self) -> list[tuple[str, Path]]:
        """Every file of the patient with its kind: `image`, a role or `truth`."""
        if self.files is not None:
            return self.files.paths()
        pairs = [pair for pair in self.slices if isinstance(pair, SlicePair)]
        return [*(("image", pair.image) for pair in pairs), *(("mask", pair.mask) for pair in pairs)]


def load_patient(patient: Patient) -> tuple[Volume, Mask]:
    """Read a patient as the worker reads an upload, and the truth that is learned from it.

    Returns:
        The volume and the mask of `patient.structure`, bool, (slice, row, column).

    Raises:
        DatasetError: a file has changed or gone since the scan.
    """
    try:
        volume, mask = _load_slices(patient) if patient.files is None else _load_volumes(patient, patient.files)
    except (BadInput, OSError) as error:
        raise DatasetError(f"Patient {patient.id} cannot be read any more ({reason(error)}); scan again.") from error
    return replace(volume, names=tuple(each.name for each in patient.slices)), mask


def _load_slices(patient: Patient) -> tuple[Volume, Mask]:
    pairs = [pair for pair in patient.slices if isinstance(pair, SlicePair)]
    volume = formats.read_volume(uploads([pair.image for pair in pairs]), settings().limits)
    masks = [read_mask(pair.mask) for pair in pairs]
    if any(mask.shape != volume.shape[1:] for mask in masks):
        raise DatasetError(f"Patient {patient.id} has changed in size since the scan; scan again.")
    return volume, np.stack(masks)


def _load_volumes(patient: Patient, files: VolumeFiles) -> tuple[Volume, Mask]:
    try:
        study = read_study(files)
    except DatasetError as error:
        raise DatasetError(f"Patient {patient.id} cannot be read any more ({error.detail}); scan again.") from error
    indices = [each.index for each in patient.slices if isinstance(each, VolumeSlice)]
    truth = study.truth.of(patient.structure)
    if truth is None or max(indices) >= len(truth):
        raise DatasetError(f"Patient {patient.id} has changed since the scan; scan again.")
    if len(indices) == len(truth):
        return study.volume, truth
    names = tuple(study.volume.names[index] for index in indices)
    return replace(study.volume, pixels=study.volume.pixels[indices], names=names, grid=None), truth[indices]


def fingerprint(patients: Iterable[Patient]) -> str:
    """The sha256 of the sorted names and sizes of all files used, wherever the folder lies."""
    files = (
        f"{patient.id}/{kind}/{path.name} {path.stat().st_size}\n"
        for patient in patients
        for kind, path in patient.paths()
    )
    return hashlib.sha256("".join(sorted(files)).encode()).hexdigest()
