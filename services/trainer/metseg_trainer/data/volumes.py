"""Reading a study of volumes: images like an upload in serving, outlines on their grid, structure by structure."""

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
from nibabel.filebasedimages import ImageFileError
from scipy import ndimage

from metseg import formats
from metseg.contracts import Role, Structure
from metseg.errors import BadInput, DatasetError
from metseg.imaging import (
    LPS_TO_RAS,
    Affine,
    Mask,
    Shape,
    Volume,
    same_grid,
    to_canonical,
)
from metseg.settings import Limits, settings
from metseg_trainer.data.dicom_outlines import read_segmentation, read_structure_set
from metseg_trainer.data.image_files import read_mask, reason, uploads
from metseg_trainer.data.layouts import ImageFiles, Label, TruthFiles, VolumeFiles
from metseg_trainer.data.layouts.files import VOLUME_SUFFIXES

__all__ = ["StudyVolume", "Truth", "read_study"]

MAX_INSTANCES = 100_000
"""Files of a study on the researcher's disk; uploads have a lower limit."""
ROUNDING = 1e-4
"""The largest distance of a label from a whole number: scaled headers round."""
RESAMPLED = "The mask is on another grid than the images and was resampled onto theirs"
FULL_LEVEL = 255.0
HIGH_PERCENTILE = 99.9


@dataclass(frozen=True, eq=False)
class Truth:
    """The known truth of a study: bool masks, (slice, row, column); None is unknown, not empty."""

    core: Mask | None
    whole: Mask | None

    def of(self, structure: Structure) -> Mask | None:
        """The mask of a structure."""
        return self.core if structure == "core" else self.whole


@dataclass(frozen=True, eq=False)
class StudyVolume:
    """A study as read.

    Attributes:
        volume: the images; a missing sequence is a copy, as in serving.
        truth: on the grid of the volume.
        labels: that occur in the outlines.
        remarks: sentences on grids and missing sequences.
    """

    volume: Volume
    truth: Truth
    labels: tuple[Label, ...]
    remarks: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Outlines:
    """Masks by label on one grid.

    Attributes:
        masks: bool, in the file's order of axes if there is an affine, else (slice, row, column).
        affine: from voxels to RAS+ millimetres; None if the file stores no position.
        shape: of each mask.
    """

    masks: dict[Label, Mask]
    affine: Affine | None
    shape: tuple[int, ...]


def read_study(files: VolumeFiles) -> StudyVolume:
    """Read a study of volumes.

    Args:
        files: of the study.

    Returns:
        The volume on the FLAIR's grid, or the post-contrast one's, and the truth on it. Intensities of each channel
        are scaled to 0 to 255, the range in which metastases are drawn; preparation does not depend on the scale.

    Raises:
        DatasetError: a file cannot be read, is not a volume, has labels without meaning, or the grids do not fit.
    """
    volume = _read_images(files.images)
    if volume.spacing_mm is None and files.spacing_mm is not None:
        volume = replace(volume, spacing_mm=files.spacing_mm)
    outlines = [_read_outlines(one) for one in files.truth]
    found = tuple(sorted({label for one in outlines for label in one.masks}, key=str))
    if files.labels.question is not None:
        raise DatasetError(files.labels.question)
    if unknown := files.labels.unknown(found):
        raise DatasetError(
            f"its mask has the label {', '.join(map(str, unknown))}, which has no meaning in this layout; give it one "
            "in a labels.yaml"
        )
    core = _structure(volume, outlines, files.labels.core)
    whole = _structure(volume, outlines, files.labels.whole)
    if core is not None and whole is not None:
        whole |= core
    moved = any(one.masks and not _on_grid(volume, one) for one in outlines)
    remarks = (*volume.warnings, *((RESAMPLED,) if moved else ()))
    return StudyVolume(_scaled(volume), Truth(core, whole), found, remarks)


def _read_images(images: Mapping[Role | None, ImageFiles]) -> Volume:
    """One volume of the sequences, without registration.

    Raises:
        DatasetError: a file cannot be read.
    """
    try:
        files = [upload for role, one in images.items() for upload in _uploads_of(role, one)]
        return formats.read_volume(files, _limits(), align="none")
    except (BadInput, OSError) as error:
        raise DatasetError(reason(error)) from error


def _limits() -> Limits:
    return settings().limits.model_copy(update={"files": MAX_INSTANCES})


def _uploads_of(role: Role | None, images: ImageFiles) -> list[formats.Upload]:
    [first, *more] = images.paths
    if more or not first.name.lower().endswith(VOLUME_SUFFIXES):
        return uploads(images.paths, role)
    return [formats.Upload(f"{role}.nii", _nifti(first, images.channel), role)]


def _nifti(path: Path, channel: int | None) -> BytesIO:
    """A volume as one NIfTI file of three dimensions."""
    image, sides = _open(path)
    if channel is None and len(sides) == 3 and not _is_metaimage(path):
        return BytesIO(path.read_bytes())
    if channel is not None:
        if len(sides) != 4 or channel >= sides[3]:
            raise DatasetError(f"{path.name} is {_size(sides)}, but volume {channel} of a 4D file is expected")
    elif len(sides) > 3:
        raise DatasetError(f"{path.name} is {_size(sides)}: {sides[3]} volumes in one file, where one is expected")
    with _damage_named(path):
        return BytesIO((image if channel is None else image.slicer[..., channel]).to_bytes())


def _open(path: Path) -> tuple[Any, tuple[int, ...]]:
    """An image, its voxels not yet read, and its sides without trailing ones; at least three.

    Raises:
        DatasetError: the file is damaged, or a single slice.
    """
    with _damage_named(path):
        image: Any = _open_metaimage(path) if _is_metaimage(path) else nibabel.load(path)
    sides = tuple(int(side) for side in image.shape)
    while len(sides) > 3 and sides[-1] == 1:
        sides = sides[:-1]
    if len(sides) < 3 or min(sides[:3]) == 1:
        raise DatasetError(f"{path.name} is {_size(sides)}: a single slice, where a volume is expected")
    return image, sides


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """Name the file if the block cannot read it.

    Raises:
        DatasetError: the file is damaged, truncated or of another kind.
    """
    try:
        yield
    except (ImageFileError, OSError, EOFError, ValueError, RuntimeError, zlib.error) as error:
        raise DatasetError(f"{path.name} is damaged, truncated or not a volume") from error


def _is_metaimage(path: Path) -> bool:
    return path.suffix.lower() == ".mha"


def _open_metaimage(path: Path) -> Any:  # noqa: ANN401 (nibabel's images have no useful type)
    """A MetaImage, the format of BraTS until 2016, as nibabel has NIfTI."""
    import SimpleITK

    image: Any = SimpleITK.ReadImage(str(path), imageIO="MetaImageIO")
    direction = np.array(image.GetDirection()).reshape(3, 3)
    affine = np.eye(4)
    affine[:3, :3] = direction * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    voxels = SimpleITK.GetArrayFromImage(image).T
    kept = voxels if voxels.dtype.itemsize < 8 else voxels.astype(np.float32)
    return nibabel.Nifti1Image(kept, LPS_TO_RAS @ affine)  # type: ignore[no-untyped-call]


def _read_outlines(files: TruthFiles) -> _Outlines:
    if files.format == "slices":
        mask = np.stack([read_mask(path) for path in files.paths])
        return _Outlines({files.label or 1: mask} if mask.any() else {}, None, mask.shape)
    [path] = files.paths
    if files.format == "seg":
        return _named(*read_segmentation(path))
    if files.format == "rtstruct":
        if not files.reference:
            raise DatasetError(f"{path.name} was drawn on a series that is not in the folder")
        return _named(*read_structure_set(path, _read_images({None: ImageFiles(files.reference)})))
    image, sides = _open(path)
    if len(sides) > 3:
        raise DatasetError(f"{path.name} is {_size(sides)}: {sides[3]} volumes in one file, where one mask is expected")
    with _damage_named(path):
        stored = np.asanyarray(image.dataobj).reshape(sides)
    values = _whole_numbers(stored, path.name)
    if files.label is not None:
        masks: dict[Label, Mask] = {files.label: values != 0} if values.any() else {}
    else:
        masks = {int(label): values == label for label in np.unique(values) if label}
    placed = image.get_sform(coded=True)[1] > 0 or image.get_qform(coded=True)[1] > 0
    return _Outlines(masks, np.asarray(image.affine, np.float64) if placed else None, sides)


def _named(masks: Mapping[str, Mask], affine: Affine) -> _Outlines:
    """Outlines of a DICOM file, those that are empty left out."""
    shape = next((mask.shape for mask in masks.values()), (0, 0, 0))
    return _Outlines({name: mask for name, mask in masks.items() if mask.any()}, affine, shape)


def _whole_numbers(values: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
    """Labels as integers.

    Raises:
        DatasetError: a value is not a whole number.
    """
    if values.dtype.kind in "iub":
        return values
    rounded = np.rint(values)
    wrong = ~(np.abs(values - rounded) <= ROUNDING)
    if wrong.any():
        example = float(values[wrong].flat[0])
        raise DatasetError(
            f"{name} has the value {example:.4g}, but labels are whole numbers; threshold a probability map first"
        )
    return np.asarray(rounded, np.int32)


def _structure(volume: Volume, outlines: Sequence[_Outlines], labels: Iterable[Label] | None) -> Mask | None:
    """The union of a structure's labels on the volume's grid; None if it is unknown.

    Raises:
        DatasetError: a mask does not fit the images, or is lost on their grid.
    """
    if labels is None:
        return None
    structure = np.zeros(volume.shape, np.bool_)
    for one in outlines:
        wanted = [mask for label, mask in one.masks.items() if labels == "any" or label in labels]
        if not wanted:
            continue
        on_grid = _onto(volume, one, np.logical_or.reduce(wanted))
        if not on_grid.any():
            raise DatasetError("its outlines fall between the slices of the images, whose grid is too coarse for them")
        structure |= on_grid
    return structure


def _on_grid(volume: Volume, outlines: _Outlines) -> bool:
    """Whether the outlines have the voxels of the volume, as far as known."""
    if volume.grid is None:
        return outlines.shape == volume.shape
    if outlines.shape != volume.grid.shape:
        return False
    if outlines.affine is None or volume.grid.affine is None:
        return True
    columns, rows, slices = volume.grid.shape
    return same_grid(outlines.affine, np.array(volume.grid.affine), (slices, rows, columns))


def _onto(volume: Volume, outlines: _Outlines, mask: Mask) -> Mask:
    """A mask on the volume's grid, resampled linearly from another one."""
    if _on_grid(volume, outlines):
        return mask if volume.grid is None else np.ascontiguousarray(to_canonical(mask, volume.grid))
    if outlines.affine is None or volume.affine is None:
        ours = volume.shape if volume.grid is None else volume.grid.shape
        raise DatasetError(
            f"its mask is {_size(outlines.shape)}, its images are {_size(ours)}, and one of them stores no position"
        )
    # SciPy, not `register`: a segmentation may store only the slice that it outlines, and so cover next to nothing.
    columns_first = np.eye(4)[[2, 1, 0, 3]]
    to_mask = np.linalg.inv(outlines.affine) @ volume.affine @ columns_first
    resampled = _resampled(mask, to_mask, volume.shape)
    if not resampled.any() and not _resampled(np.ones_like(mask), to_mask, volume.shape).any():
        raise DatasetError("its mask and its images do not overlap")
    return resampled


def _resampled(mask: Mask, to_mask: Affine, shape: Shape) -> Mask:
    """A mask sampled linearly at the voxels of that shape, (slice, row, column)."""
    values = ndimage.affine_transform(
        mask.astype(np.float32), to_mask[:3, :3], to_mask[:3, 3], shape, order=1, mode="grid-constant"
    )
    return np.asarray(values >= 0.5, np.bool_)


def _scaled(volume: Volume) -> Volume:
    """The volume with each channel from 0 to 255; 8-bit images are unchanged."""
    if volume.pixels.dtype == np.uint8:
        return volume
    flat = volume.pixels.reshape(-1, volume.pixels.shape[-1])
    low = flat.min(axis=0).astype(np.float32)
    high = np.maximum(np.percentile(flat, HIGH_PERCENTILE, axis=0).astype(np.float32), low + 1e-6)
    scaled = (volume.pixels - low) * (FULL_LEVEL / (high - low))
    return replace(volume, pixels=scaled.astype(np.float32))


def _size(shape: Sequence[int]) -> str:
    return " x ".join(str(side) for side in shape)
