"""Head phantoms in the layouts that researchers have, to try a folder's layout without anybody's scans."""

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import numpy.typing as npt

from metseg.contracts import Role
from metseg.imaging import ROLES
from metseg.phantom import Phantom

__all__ = ["LAYOUT_WRITERS"]

Pixels = npt.NDArray[np.generic]

CORE_LABELS = (1, 3)


def _brats(folder: Path, number: int, head: Phantom) -> None:
    """`BraTS-MET-00001-000/BraTS-MET-00001-000-t1c.nii.gz` and so on."""
    case = f"BraTS-MET-{number:05d}-000"
    _volumes(head, folder / case / f"{case}-", {"pre": "t1n", "post": "t1c", "flair": "t2f"})
    _save(head.volume.pixels[..., 0], head, folder / case / f"{case}-t2w.nii.gz")
    _save(head.labels, head, folder / case / f"{case}-seg.nii.gz")


def _brats2021(folder: Path, number: int, head: Phantom) -> None:
    """`BraTS2021_00001/BraTS2021_00001_t1ce.nii.gz` and so on; enhancing tumour is 4."""
    case = f"BraTS2021_{number:05d}"
    _volumes(head, folder / case / f"{case}_", {"pre": "t1", "post": "t1ce", "flair": "flair"})
    _save(np.where(head.labels == 3, 4, head.labels).astype(np.uint8), head, folder / case / f"{case}_seg.nii.gz")


def _brats2013(folder: Path, number: int, head: Phantom) -> None:
    """`brats_2013_pat0001_1/T1c_subtrMeanDivStd.nii.gz` and so on, without pre-contrast T1."""
    case = folder / f"brats_2013_pat{number:04d}_1"
    _volumes(head, case, {"post": "T1c", "flair": "Flair"}, "/{}_subtrMeanDivStd.nii.gz")
    labels = np.where(head.labels == 3, 4, head.labels).astype(np.float32)
    _save(labels, head, case / "OTMultiClass.nii.gz")


LAYOUT_WRITERS: dict[str, Callable[[Path, int, Phantom], None]] = {
    "brats": _brats,
    "brats2021": _brats2021,
    "brats2013": _brats2013,
}
"""By name: writes the study of that number below a folder."""


def _volumes(head: Phantom, stem: Path, names: dict[Role, str], form: str = "{}.nii.gz") -> None:
    for role, name in names.items():
        path = stem.parent / f"{stem.name}{form.format(name)}"
        _save(head.volume.pixels[..., ROLES.index(role)], head, path)


def _save(pixels: Pixels, head: Phantom, path: Path) -> None:
    """Write (slice, row, column) as NIfTI."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(_image(pixels, head), path)


def _image(pixels: Pixels, head: Phantom) -> nibabel.Nifti1Image:
    """Voxels in the order (column, row, slice), with their position."""
    image = nibabel.Nifti1Image(np.ascontiguousarray(pixels.T), head.volume.affine)  # type: ignore[no-untyped-call]
    image.header.set_xyzt_units("mm")  # type: ignore[no-untyped-call]
    return image
