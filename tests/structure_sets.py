"""An independent reader of RT Structure Sets: by the standard's formulas and matplotlib's point in polygon alone."""

import io
from typing import NamedTuple

import numpy as np
import pydicom
from matplotlib.path import Path


class Contoured(NamedTuple):
    """A region as a planning system would read it; the mask is by image."""

    number: int
    kind: str
    description: str
    rgb: tuple[int, ...]
    volume_ml: float
    masks: dict[str, np.ndarray]


def fill(polygons, shape):
    """The pixels whose middles are in the polygons, (row, column)."""
    rows, columns = np.indices(shape)
    middles = np.column_stack([rows.ravel(), columns.ravel()])
    inside = np.zeros(len(middles), bool)
    for polygon in polygons:
        inside ^= Path(polygon).contains_points(middles)
    return inside.reshape(shape)


def read_structure_set(data, images):
    """The regions of a structure set by name; contours are put on the images that they refer to."""
    found = pydicom.dcmread(io.BytesIO(data))
    by_uid = {image.SOPInstanceUID: image for image in images}
    observed = {each.ReferencedROINumber: each for each in found.RTROIObservationsSequence}
    contours = {each.ReferencedROINumber: each for each in found.ROIContourSequence}
    regions = {}
    for structure in found.StructureSetROISequence:
        contour = contours[structure.ROINumber]
        masks = {}
        for each in contour.ContourSequence:
            assert each.ContourGeometricType == "CLOSED_PLANAR"
            [reference] = each.ContourImageSequence
            image = by_uid[reference.ReferencedSOPInstanceUID]
            assert reference.ReferencedSOPClassUID == image.SOPClassUID
            assert structure.ReferencedFrameOfReferenceUID == image.FrameOfReferenceUID
            points = np.array(each.ContourData, float).reshape(-1, 3)
            assert len(points) == each.NumberOfContourPoints
            inside = fill([in_pixels(points, image)], (image.Rows, image.Columns))
            masks[image.SOPInstanceUID] = masks.get(image.SOPInstanceUID, False) ^ inside
        regions[structure.ROIName] = Contoured(
            int(structure.ROINumber),
            observed[structure.ROINumber].RTROIInterpretedType,
            structure.ROIDescription,
            tuple(contour.ROIDisplayColor),
            float(structure.ROIVolume),
            masks,
        )
    return regions


def in_pixels(points, image):
    """Points in LPS millimetres as (row, column) of an image (PS3.3 C.7.6.2.1.1), which must be in its plane."""
    cosines = np.array(image.ImageOrientationPatient, float)
    relative = points - np.array(image.ImagePositionPatient, float)
    assert np.abs(relative @ np.cross(cosines[:3], cosines[3:])).max() < 0.01
    between_rows, between_columns = map(float, image.PixelSpacing)
    return np.column_stack([relative @ cosines[3:] / between_rows, relative @ cosines[:3] / between_columns])


def dice(one, other):
    return 2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))
