"""Head phantoms in the layouts that researchers have, to try a layout without a person's scans."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
from PIL import Image

from metseg.contracts import Role
from metseg.imaging import ROLES
from metseg.phantom import Phantom
from metseg_trainer.data.phantom_dicom import write_with_segmentation, write_with_structure_set

__all__ = ["LAYOUT_WRITERS"]

Pixels = npt.NDArray[np.generic]

CORE_LABELS = (1, 3)


def _brats(folder: Path, number: int, head: Phantom) -> None:
    """`BraTS-MET-00001-000/BraTS-MET-00001-000-t1c.nii.gz` and so on."""
    case = f"BraTS-MET-{number:05d}-000"
    _volumes(head, folder / case / f"{case}-", {"pre": "t1n", "post": "t1c", "flair": "t2f"})
    _save(head.volume.pixels[..., 0], head, folder / case / f"{case}-t2w.nii.gz")
    _save(head.labels, head, folder / case / f"{case}-seg.nii.gz")


def _brats_paediatric(folder: Path, number: int, head: Phantom) -> None:
    """`BraTS-PED-00001-000/BraTS-PED-00001-000-t1c.nii.gz` and so on; 1 enhances, 3 is cyst, 4 is oedema."""
    case = f"BraTS-PED-{number:05d}-000"
    _volumes(head, folder / case / f"{case}-", {"pre": "t1n", "post": "t1c", "flair": "t2f"})
    _save(np.array([0, 3, 4, 1], np.uint8)[head.labels], head, folder / case / f"{case}-seg.nii.gz")


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


def _nnunet(folder: Path, number: int, head: Phantom) -> None:
    """`imagesTr/mets_0001_0000.nii.gz` and so on; regions that include each other."""
    case = f"mets_{number:04d}"
    _volumes(head, folder / "imagesTr" / f"{case}_", {"pre": "0000", "post": "0001", "flair": "0002"})
    _save(head.volume.pixels[..., 0], head, folder / "imagesTr" / f"{case}_0003.nii.gz")
    _save(head.labels, head, folder / "labelsTr" / f"{case}.nii.gz")
    _describe(
        folder,
        {
            "channel_names": {"0": "T1", "1": "T1ce", "2": "FLAIR", "3": "T2"},
            "labels": {"background": 0, "whole tumor": [1, 2, 3], "tumor core": [1, 3], "enhancing tumor": [3]},
            "regions_class_order": [2, 1, 3],
            "file_ending": ".nii.gz",
        },
        number,
    )


def _msd(folder: Path, number: int, head: Phantom) -> None:
    """`imagesTr/BRATS_001.nii.gz`, four sequences in one file, in the decathlon's numbering of labels."""
    case = f"BRATS_{number:03d}.nii.gz"
    pre, flair, post = (head.volume.pixels[..., channel].T for channel in range(3))
    image = _image(pre.T, head)
    stacked = nibabel.Nifti1Image(np.stack([flair, pre, post, pre], axis=-1), image.affine)  # type: ignore[no-untyped-call]
    (folder / "imagesTr").mkdir(parents=True, exist_ok=True)
    nibabel.save(stacked, folder / "imagesTr" / case)
    _save(np.array([0, 2, 1, 3], np.uint8)[head.labels], head, folder / "labelsTr" / case)
    _describe(
        folder,
        {
            "modality": {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"},
            "labels": {"0": "background", "1": "edema", "2": "non-enhancing tumor", "3": "enhancing tumour"},
        },
        number,
    )


def _describe(folder: Path, content: dict[str, Any], cases: int) -> None:
    (folder / "dataset.json").write_text(json.dumps({**content, "numTraining": cases}, indent=2))


def _bids(folder: Path, number: int, head: Phantom) -> None:
    """`sub-01/ses-01/anat/sub-01_ses-01_ce-gadolinium_T1w.nii.gz` and so on, a label map in derivatives."""
    stem = f"sub-{number:02d}_ses-01"
    below = Path(f"sub-{number:02d}", "ses-01", "anat")
    names: dict[Role, str] = {"pre": "T1w", "post": "ce-gadolinium_T1w", "flair": "FLAIR"}
    _volumes(head, folder / below / f"{stem}_", names)
    _save(head.volume.pixels[..., 0], head, folder / below / f"{stem}_T2w.nii.gz")
    _save(head.labels, head, folder / "derivatives" / "readers" / below / f"{stem}_space-T1w_dseg.nii.gz")
    table = "index\tname\n1\tnecrosis\n2\toedema\n3\tenhancing tumour\n"
    (folder / "derivatives" / "readers" / "dseg.tsv").write_text(table)
    (folder / "dataset_description.json").write_text(json.dumps({"Name": "phantoms", "BIDSVersion": "1.10.0"}))


def _ucsf(folder: Path, number: int, head: Phantom) -> None:
    """`100001A/100001A_T1post.nii.gz` and so on, with both masks."""
    case = f"{100000 + number}A"
    _volumes(head, folder / case / f"{case}_", {"pre": "T1pre", "post": "T1post", "flair": "FLAIR"})
    for name in ("T2Synth", "subtraction"):
        _save(head.volume.pixels[..., 0], head, folder / case / f"{case}_{name}.nii.gz")
    _save((head.labels == 3).astype(np.uint8), head, folder / case / f"{case}_seg.nii.gz")
    _save(head.labels, head, folder / case / f"{case}_BraTS-seg.nii.gz")


def _brainmetshare(folder: Path, number: int, head: Phantom) -> None:
    """`Mets_001/0/000.png` and so on; the mask is the core alone."""
    for name, channel in {"0": 2, "1": 0, "2": 2, "3": 1}.items():
        _slices(head.volume.pixels[..., channel], folder / f"Mets_{number:03d}" / name)
    core = np.isin(head.labels, CORE_LABELS).astype(np.uint8) * np.uint8(255)
    _slices(core, folder / f"Mets_{number:03d}" / "seg")


def _images_and_masks(folder: Path, number: int, head: Phantom) -> None:
    """`train/images/patient_001/000.png` and so on in colour, `train/masks/patient_001/000.png` of the whole."""
    subset, patient = folder / "train", f"patient_{number:03d}"
    _slices(head.volume.pixels, subset / "images" / patient)
    _slices(head.mask.astype(np.uint8) * np.uint8(255), subset / "masks" / patient)


def _slices(pixels: Pixels, folder: Path) -> None:
    folder.mkdir(parents=True)
    for index, one in enumerate(pixels):
        Image.fromarray(one).save(folder / f"{index:03d}.png")


LAYOUT_WRITERS: dict[str, Callable[[Path, int, Phantom], None]] = {
    "images-and-masks": _images_and_masks,
    "brats": _brats,
    "brats-ped": _brats_paediatric,
    "brats2021": _brats2021,
    "brats2013": _brats2013,
    "nnunet": _nnunet,
    "msd": _msd,
    "bids": _bids,
    "ucsf": _ucsf,
    "brainmetshare": _brainmetshare,
    "dicom-seg": write_with_segmentation,
    "dicom-rtstruct": write_with_structure_set,
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
