"""Outlines in DICOM: segmentations (SEG) and structure sets (RTSTRUCT) as masks by name, with their position."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom

from metseg.errors import DatasetError
from metseg.imaging import LPS_TO_RAS, Affine, Float64Array, Mask, Volume

__all__ = ["read_segmentation", "read_structure_set"]


SUBPIXELS = 8
"""Contours are filled on a grid finer by this factor, whose middle pixels count, since OpenCV fills edges too."""
MAX_OFF_SLICE = 0.3
"""The largest distance of a contour from the middle of a slice, as a share of the slice distance."""


def read_segmentation(path: Path) -> tuple[dict[str, Mask], Affine]:
    """The segments of a DICOM SEG.

    Args:
        path: of the file.

    Returns:
        Masks by segment label, (column, row, frame), and their affine to RAS+ millimetres.

    Raises:
        DatasetError: the file is damaged, or its frames are not a regular stack.
    """
    from highdicom.seg import segread

    try:
        segmentation = segread(path)
        volume = segmentation.get_volume(combine_segments=False)
        labels = [segmentation.get_segment_description(int(number)) for number in segmentation.segment_numbers]
    except Exception as error:  # highdicom and pydicom raise many kinds for files against the standard
        raise DatasetError(f"{path.name} is a DICOM SEG that cannot be read: {error}") from error
    masks: dict[str, Mask] = {}
    for index, description in enumerate(labels):
        mask = np.asarray(volume.array[..., index].T >= 0.5, np.bool_)
        name = str(description.segment_label)
        masks[name] = masks[name] | mask if name in masks else mask
    affine = LPS_TO_RAS @ volume.affine
    return masks, affine[:, [2, 1, 0, 3]]


def read_structure_set(path: Path, drawn_on: Volume) -> tuple[dict[str, Mask], Affine]:
    """The regions of a DICOM RTSTRUCT, filled on the slices on which they were drawn.

    Args:
        path: of the file.
        drawn_on: the series.

    Returns:
        Masks by name of region, (column, row, slice), and their affine to RAS+ millimetres.

    Raises:
        DatasetError: the file is damaged, or a contour is between slices or outside of all.
    """
    if drawn_on.affine is None:
        raise DatasetError(f"{path.name} was drawn on a series that stores no position")
    names: dict[int, str] = {}
    contours: dict[str, list[Float64Array]] = defaultdict(list)
    try:
        structures: Any = pydicom.dcmread(path)
        for region in structures.StructureSetROISequence:
            names[int(region.ROINumber)] = str(region.ROIName)
        for region in structures.get("ROIContourSequence") or []:
            for contour in region.get("ContourSequence") or []:
                if contour.ContourGeometricType == "CLOSED_PLANAR":
                    points = np.array(contour.ContourData, np.float64).reshape(-1, 3)
                    contours[names[int(region.ReferencedROINumber)]].append(points)
    except (AttributeError, KeyError, OSError, ValueError) as error:
        raise DatasetError(f"{path.name} is a DICOM RTSTRUCT that cannot be read") from error
    masks = {
        name: _filled(points, drawn_on, drawn_on.affine, f"{path.name}, {name}") for name, points in contours.items()
    }
    return {name: mask.T for name, mask in masks.items()}, drawn_on.affine


def _filled(contours: list[Float64Array], drawn_on: Volume, affine: Affine, name: str) -> Mask:
    """Contours filled slice by slice; one within another is a hole."""
    mask = np.zeros(drawn_on.shape, np.bool_)
    to_voxels = np.linalg.inv(affine) @ LPS_TO_RAS
    on_slice: dict[int, list[Float64Array]] = defaultdict(list)
    for points in contours:
        voxels = points @ to_voxels[:3, :3].T + to_voxels[:3, 3]
        index = round(float(voxels[:, 2].mean()))
        if np.abs(voxels[:, 2] - index).max() > MAX_OFF_SLICE or not 0 <= index < len(mask):
            raise DatasetError(f"{name}: a contour is not on a slice of the series that it was drawn on")
        on_slice[index].append(voxels[:, :2])
    for index, polygons in on_slice.items():
        mask[index] = _fill(polygons, drawn_on.shape[1:])
    return mask


def _fill(polygons: list[Float64Array], size: tuple[int, int]) -> Mask:
    """Which pixels of a slice have their middle inside; polygons are (column, row) of the pixels' middles."""
    rows, columns = size
    fine = np.zeros((rows * SUBPIXELS, columns * SUBPIXELS), np.uint8)
    scaled = [np.rint((polygon + 0.5) * SUBPIXELS - 0.5).astype(np.int32) for polygon in polygons]
    cv2.fillPoly(fine, scaled, 1)
    middle = SUBPIXELS // 2
    return np.asarray(fine[middle::SUBPIXELS, middle::SUBPIXELS] > 0, np.bool_)
