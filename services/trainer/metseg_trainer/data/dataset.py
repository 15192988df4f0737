"""Folder -> audit -> patients: what a training folder holds, what of it can be used, and why the rest cannot."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from tqdm import tqdm

from metseg import formats
from metseg.errors import BadInput, DatasetError, UnusableImage
from metseg.imaging import Volume
from metseg.settings import settings
from metseg_trainer.data.audit import Audit
from metseg_trainer.data.layouts import FolderContents, PatientFiles, SliceFiles, Subset, find_slices, site_of

__all__ = ["Patient", "SlicePair", "fingerprint", "load_patient", "read_mask", "scan_folder"]

Mask = npt.NDArray[np.bool_]

LAYOUTS = (
    "metseg reads the public layout (a folder TCGA_<site>_<number>_<date> for each patient, in it <name>_1.tif beside "
    "<name>_1_mask.tif and so on) and the generic one (train/ and test/, in each images/ and masks/ with equal names, "
    "or x.png beside x_mask.png, with a subfolder for each patient)"
)


@dataclass(frozen=True)
class SlicePair:
    """A slice and its mask, one size; `name` is the image's stem and unique in its patient."""

    image: Path
    mask: Path
    name: str


@dataclass(frozen=True)
class Patient:
    """The usable slices of one patient in natural order.

    Attributes:
        id: the name that the folder or the files give.
        site: the clinic, where the name has it as in the public data; otherwise `unknown`.
        slices: one or more.
        lesion_pixels: of all masks together.
        subset: the side on which the generic layout's folders put the patient; None where they leave it open.
    """

    id: str
    site: str
    slices: tuple[SlicePair, ...]
    lesion_pixels: int
    subset: Subset | None


class _Auditor:
    """Reads patient after patient and collects what is wrong."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lesion_slices = 0
        self.images_without_mask: list[str] = []
        self.masks_without_image: list[str] = []
        self.unreadable: list[tuple[str, str]] = []
        self.shape_mismatch: list[tuple[str, str]] = []
        self.unusable: list[tuple[str, str]] = []

    def patient(self, study: PatientFiles) -> Patient | None:
        """The usable part of a study; None where nothing of it is."""
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
        areas = [int(np.count_nonzero(masks[pair])) for pair in pairs]
        self.lesion_slices += sum(area > 0 for area in areas)
        return Patient(study.id, site_of(study.id), tuple(pairs), sum(areas), study.subset)

    def audit(self, patients: Sequence[Patient], found: FolderContents) -> Audit:
        """The audit of all that was read."""
        return Audit(
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
            seen = formats.inspect_upload(_uploads([image]), settings().limits)
        except (BadInput, OSError) as error:
            self.unreadable.append((self._name(image), _why(error)))
            return None
        if seen.slices != 1:
            self.unreadable.append((self._name(image), f"{seen.slices} pages in one file; write one slice a file"))
            return None
        return seen.rows, seen.columns

    def _decodable(self, study: PatientFiles, pairs: list[SlicePair]) -> list[SlicePair]:
        """The pairs whose images decode; none where the rest cannot be used as a study."""
        if self._try(pairs) is None:
            return pairs
        pairs = [pair for pair in pairs if not self._damaged(pair.image)]
        error = self._try(pairs) if pairs else None
        if error is None:
            return pairs
        self.unusable.append((study.id, _why(error)))
        return []

    @staticmethod
    def _try(pairs: Sequence[SlicePair]) -> BadInput | OSError | None:
        try:
            formats.read_volume(_uploads([pair.image for pair in pairs]), settings().limits)
        except (BadInput, OSError) as error:
            return error
        return None

    def _damaged(self, image: Path) -> bool:
        try:
            formats.read_volume(_uploads([image]), settings().limits)
        except UnusableImage:
            return False  # a constant slice is no study by itself, but may be part of one
        except (BadInput, OSError) as error:
            self.unreadable.append((self._name(image), _why(error)))
            return True
        return False

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()


def scan_folder(folder: Path) -> tuple[list[Patient], Audit]:
    """Read a whole training folder and find out what of it can be used.

    Args:
        folder: the public data as it is, or the generic layout; stray files and copies of the tree do no harm.

    Returns:
        Patients ordered by id, and the audit.

    Raises:
        DatasetError: the folder cannot be listed, one patient lies in train/ and in test/, or nothing can be used.
    """
    if not folder.is_dir():
        raise DatasetError(f"There is no folder {folder}; {LAYOUTS}.")
    found = find_slices(folder)
    auditor = _Auditor(folder)
    studies = sorted(found.studies, key=lambda study: formats.natural_key(study.id))
    read = [auditor.patient(study) for study in tqdm(studies, desc="Reading patients", unit="patient", disable=None)]
    patients = [patient for patient in read if patient is not None]
    audit = auditor.audit(patients, found)
    if not patients:
        raise DatasetError(f"Nothing in {folder} can be used: {audit.left_out()}; {LAYOUTS}.")
    return patients, audit


def load_patient(patient: Patient) -> tuple[Volume, Mask]:
    """Read a patient as the worker reads an upload, and the truth.

    Returns:
        The volume and its mask, bool, (slice, row, column).

    Raises:
        DatasetError: a file has changed or gone since the scan.
    """
    try:
        volume = formats.read_volume(_uploads([pair.image for pair in patient.slices]), settings().limits)
    except (BadInput, OSError) as error:
        raise DatasetError(f"Patient {patient.id} cannot be read any more ({_why(error)}); scan again.") from error
    masks = [read_mask(pair.mask) for pair in patient.slices]
    if any(mask.shape != volume.shape[1:] for mask in masks):
        raise DatasetError(f"Patient {patient.id} has changed in size since the scan; scan again.")
    return replace(volume, names=tuple(pair.name for pair in patient.slices)), np.stack(masks)


def read_mask(path: Path) -> Mask:
    """A mask from an image file: whatever is not zero is lesion; in a JPEG, whatever is brighter than half.

    Raises:
        DatasetError: the file cannot be decoded or holds several pages.
    """
    try:
        with Image.open(path) as image:
            if getattr(image, "n_frames", 1) != 1:
                raise DatasetError("several pages in one file; write one mask a file")
            levels: npt.NDArray[np.generic] = np.asarray(image)
            lossy = image.format == "JPEG"
            colours = len(image.getbands()) - ("A" in image.getbands())
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DatasetError("not an image that can be decoded") from error
    lesion: Mask = np.greater(levels, 127 if lossy else 0)
    if lesion.ndim == 2:
        return lesion
    anywhere: Mask = np.any(lesion[..., :colours], axis=-1)
    return anywhere


def fingerprint(patients: Iterable[Patient]) -> str:
    """The sha256 of the sorted names and sizes of all files used, wherever the folder lies."""
    files = (
        f"{patient.id}/{kind}/{path.name} {path.stat().st_size}\n"
        for patient in patients
        for pair in patient.slices
        for kind, path in (("image", pair.image), ("mask", pair.mask))
    )
    return hashlib.sha256("".join(sorted(files)).encode()).hexdigest()


def _uploads(paths: Sequence[Path]) -> list[formats.Upload]:
    """The files in this order, whatever their names."""
    return [
        formats.Upload(f"{index:06d}{path.suffix}", BytesIO(path.read_bytes()), None)
        for index, path in enumerate(paths)
    ]


def _why(error: BadInput | OSError) -> str:
    return error.detail if isinstance(error, BadInput) else error.strerror or type(error).__name__


def _size(shape: Sequence[int]) -> str:
    return "x".join(str(side) for side in shape)
