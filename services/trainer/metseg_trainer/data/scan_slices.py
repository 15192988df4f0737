"""The audit of folders of slices."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from metseg import formats
from metseg.errors import BadInput, DatasetError, UnusableImage
from metseg.imaging import Mask
from metseg.settings import settings
from metseg_trainer.data.audit import Audit, structure_counts
from metseg_trainer.data.dataset import Patient, SlicePair
from metseg_trainer.data.image_files import read_mask, reason, uploads
from metseg_trainer.data.layouts import FolderContents, PatientFiles, SliceFiles, site_of

__all__ = ["audit_slices"]


def audit_slices(folder: Path, found: FolderContents) -> tuple[list[Patient], Audit]:
    """Read all patients of a folder of slices.

    Args:
        folder: to which names in the audit are relative.
        found: its contents.

    Returns:
        The patients that can be used, ordered by id, and the audit.
    """
    auditor = _Auditor(folder)
    studies = sorted(found.slices, key=lambda study: formats.natural_key(study.id))
    read = [auditor.patient(study) for study in tqdm(studies, desc="Reading patients", unit="patient", disable=None)]
    patients = [patient for patient in read if patient is not None]
    return patients, auditor.audit(patients, found)


class _Auditor:
    """Reads one patient after another and collects problems."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lesion_slices = 0
        self.structures: list[tuple[bool, bool]] = []
        self.core_only: list[str] = []
        self.images_without_mask: list[str] = []
        self.masks_without_image: list[str] = []
        self.unreadable: list[tuple[str, str]] = []
        self.shape_mismatch: list[tuple[str, str]] = []
        self.unusable: list[tuple[str, str]] = []

    def patient(self, study: PatientFiles) -> Patient | None:
        """The usable part of a study; None if there is none."""
        read = [self._pair(stem, study.slices[stem]) for stem in sorted(study.slices, key=formats.natural_key)]
        masks = dict(filter(None, read))
        if not masks:
            return None
        if len({mask.shape for mask in masks.values()}) > 1:
            sizes = Counter(_size(mask.shape) for mask in masks.values())
            why = "slices of several sizes: " + ", ".join(f"{count} of {size}" for size, count in sizes.items())
            self.unusable.append((study.id, why))
            return None
        pairs = self._decodable(study, list(masks))
        if not pairs:
            return None
        core, whole = study.labels.core is not None, study.labels.whole is not None
        self.structures.append((core, whole))
        if not whole:
            self.core_only.append(study.id)
            return None
        areas = [int(np.count_nonzero(masks[pair])) for pair in pairs]
        self.lesion_slices += sum(area > 0 for area in areas)
        return Patient(study.id, site_of(study.id), tuple(pairs), sum(areas), study.subset)

    def audit(self, patients: Sequence[Patient], found: FolderContents) -> Audit:
        """The audit of everything read."""
        return Audit(
            layout=found.layout,
            structures=structure_counts(self.structures),
            core_only=tuple(self.core_only),
            patients=len(patients),
            slices=sum(len(patient.slices) for patient in patients),
            lesion_slices=self.lesion_slices,
            sites=dict(sorted(Counter(patient.site for patient in patients).items())),
            images_without_mask=tuple(self.images_without_mask),
            masks_without_image=tuple(self.masks_without_image),
            unreadable=tuple(self.unreadable),
            shape_mismatch=tuple(self.shape_mismatch),
            unusable_patients=tuple(self.unusable),
            copies=found.copies,
            notes=tuple(found.notes),
        )

    def _pair(self, stem: str, files: SliceFiles) -> tuple[SlicePair, Mask] | None:
        """A slice whose header and mask are readable and of one size."""
        image, mask_file = files
        if image is None or mask_file is None:
            if image is not None:
                self.images_without_mask.append(self._name(image))
            elif mask_file is not None:
                self.masks_without_image.append(self._name(mask_file))
            return None
        size = self._size_of(image)
        try:
            mask = read_mask(mask_file)
        except DatasetError as error:
            self.unreadable.append((self._name(mask_file), error.detail))
            return None
        if size is None:
            return None
        if mask.shape != size:
            self.shape_mismatch.append((self._name(mask_file), f"{_size(mask.shape)}, the image {_size(size)}"))
            return None
        return SlicePair(image, mask_file, image.stem), mask

    def _size_of(self, image: Path) -> tuple[int, int] | None:
        """Rows and columns by the image's header."""
        try:
            seen = formats.inspect_upload(uploads([image]), settings().limits)
        except (BadInput, OSError) as error:
            self.unreadable.append((self._name(image), reason(error)))
            return None
        if seen.slices != 1:
            self.unreadable.append((self._name(image), f"{seen.slices} pages in one file; write one slice per file"))
            return None
        return seen.rows, seen.columns

    def _decodable(self, study: PatientFiles, pairs: list[SlicePair]) -> list[SlicePair]:
        """The pairs whose images decode; none if the rest is not a usable study."""
        if self._try(pairs) is None:
            return pairs
        pairs = [pair for pair in pairs if not self._damaged(pair.image)]
        error = self._try(pairs) if pairs else None
        if error is None:
            return pairs
        self.unusable.append((study.id, reason(error)))
        return []

    @staticmethod
    def _try(pairs: Sequence[SlicePair]) -> BadInput | OSError | None:
        try:
            formats.read_volume(uploads([pair.image for pair in pairs]), settings().limits)
        except (BadInput, OSError) as error:
            return error
        return None

    def _damaged(self, image: Path) -> bool:
        try:
            formats.read_volume(uploads([image]), settings().limits)
        except UnusableImage:
            return False  # a constant slice alone is not a study, but may be part of one
        except (BadInput, OSError) as error:
            self.unreadable.append((self._name(image), reason(error)))
            return True
        return False

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()


def _size(shape: Sequence[int]) -> str:
    return "x".join(str(side) for side in shape)
