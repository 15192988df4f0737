"""Where the images of a source lie in the patient."""

from typing import NamedTuple

import numpy as np
from pydicom.dataset import Dataset

from metseg.formats.dicom.source_headers import SourceImages
from metseg.imaging import Float64Array

__all__ = ["ImagePlane", "functional_group", "image_planes"]


class ImagePlane(NamedTuple):
    """An image of the source and its plane, in LPS+ millimetres.

    Attributes:
        position: of the middle of the first pixel, (3,).
        row_step: from a row to the next, (3,).
        column_step: from a column to the next, (3,).
        sop_class: of the image.
        instance: of the image; None for a gap between images.
        frame: of an enhanced file, from 1; None where the file is the image.
    """

    position: Float64Array
    row_step: Float64Array
    column_step: Float64Array
    sop_class: str
    instance: str | None
    frame: int | None

    def reference(self) -> Dataset:
        """An item that refers to the image, which must exist."""
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = self.sop_class, self.instance
        if self.frame is not None:
            item.ReferencedFrameNumber = self.frame
        return item


def image_planes(origin: SourceImages) -> dict[int, ImagePlane]:
    """The plane of each image, by its index in the volume in the source's order."""
    if origin.numbers is None:
        return {
            index: _plane(header, header, header, header)
            for index, header in zip(origin.indices, origin.headers, strict=True)
        }
    [header] = origin.headers
    shared = header.SharedFunctionalGroupsSequence[0]
    planes = {}
    for index, number, own in zip(origin.indices, origin.numbers, header.PerFrameFunctionalGroupsSequence, strict=True):
        groups = (
            functional_group(own, shared, keyword)
            for keyword in ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence")
        )
        planes[index] = _plane(header, *groups)._replace(frame=number)
    return planes


def functional_group(own: Dataset, shared: Dataset, keyword: str) -> Dataset:
    """The item of a functional group, which one of the two must have.

    Args:
        own: groups of the frame.
        shared: groups of all frames.
        keyword: of the group.

    Returns:
        That of the frame if it has one, else the shared one.
    """
    item: Dataset = (own.get(keyword) or shared[keyword].value)[0]
    return item


def _plane(header: Dataset, position: Dataset, orientation: Dataset, measures: Dataset) -> ImagePlane:
    cosines = np.array(orientation.ImageOrientationPatient, np.float64)
    between_rows, between_columns = map(float, measures.PixelSpacing)
    return ImagePlane(
        np.array(position.ImagePositionPatient, np.float64),
        cosines[3:] * between_rows,
        cosines[:3] * between_columns,
        str(header.SOPClassUID),
        str(header.SOPInstanceUID),
        None,
    )
