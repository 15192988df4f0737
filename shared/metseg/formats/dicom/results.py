"""Results in DICOM: what is written back beside the study that it was found in."""

import logging
from collections.abc import Sequence
from io import BytesIO

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from metseg.contracts import Lesion
from metseg.errors import UnreadableImage
from metseg.formats.dicom.safe_read import legible
from metseg.formats.dicom.segmentation import Finder, segmentation
from metseg.formats.dicom.source_headers import Origin
from metseg.formats.dicom.structured_report import report
from metseg.imaging import Volume, from_canonical

__all__ = ["REPORT", "SEGMENTATION", "results"]

SEGMENTATION, REPORT = "segmentation.dcm", "report.dcm"
NO_REFERENCE = (
    "The study's headers lack identifiers or places that a DICOM segmentation has to refer to, so its result has none; "
    "the mask is there in other formats."
)
BREAKS_THE_STANDARD = (
    "The study's headers break the DICOM standard, so its result has no DICOM segmentation and no structured report."
)

log = logging.getLogger(__name__)


def results(
    volume: Volume, labels: npt.NDArray[np.int32], lesions: Sequence[Lesion], finder: Finder
) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """The SEG and the report of a result by their names in the store, and warnings.

    Args:
        volume: read from DICOM.
        labels: (slice, row, column), as the volume: 0, or the number of the lesion that is there.
        lesions: those, numbered from 1.
        finder: what found them.
    """
    origin, grid = volume.origin, volume.grid
    if not isinstance(origin, Origin) or grid is None:
        return {}, (NO_REFERENCE,)
    on_source = from_canonical(labels, grid).transpose(2, 1, 0)
    try:
        with legible(BREAKS_THE_STANDARD):
            masks = segmentation(origin, on_source, lesions, finder)
            measures = report(origin, masks, lesions, finder)
            return {SEGMENTATION: _bytes(masks), REPORT: _bytes(measures)}, ()
    except UnreadableImage as error:
        log.warning("no DICOM results", extra={"job": finder.job, "error": type(error.__cause__).__name__})
        return {}, (BREAKS_THE_STANDARD,)


def _bytes(made: Dataset) -> bytes:
    target = BytesIO()
    made.save_as(target, enforce_file_format=True)
    return target.getvalue()
