"""Results as DICOM, under the identifiers of their study."""

import logging
from collections.abc import Sequence
from io import BytesIO
from typing import NamedTuple

import numpy as np
from pydicom.dataset import Dataset

from metseg.contracts import Grid, Lesion
from metseg.errors import UnreadableImage
from metseg.formats.dicom.safe_read import translate_errors
from metseg.formats.dicom.segmentation import AlgorithmRun, Findings, Observation, build_segmentation
from metseg.formats.dicom.source_headers import SourceImages
from metseg.formats.dicom.structured_report import build_report
from metseg.imaging import LabelMap, Mask, Spacing, Volume, from_canonical

__all__ = ["REPORT_FILE", "SEGMENTATION_FILE", "Placement", "to_bytes", "write_findings", "write_results"]

SEGMENTATION_FILE, REPORT_FILE = "segmentation.dcm", "report.dcm"
NO_REFERENCE = (
    "The study's headers lack identifiers or positions that a DICOM segmentation must refer to, so there is none; "
    "the mask is available in other formats."
)
NOT_WRITTEN = (
    "No DICOM segmentation or structured report could be made from this study's headers; the mask is available in "
    "other formats."
)

log = logging.getLogger(__name__)


class Placement(NamedTuple):
    """Where a label map lies.

    Attributes:
        origin: the source images.
        grid: from the label map's order to theirs.
        spacing_mm: between slices, rows and columns.
    """

    origin: SourceImages
    grid: Grid
    spacing_mm: Spacing | None


def write_results(
    volume: Volume, labels: LabelMap, lesions: Sequence[Lesion], algorithm: AlgorithmRun, whole: Mask | None = None
) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """Write the segmentation and the structured report of a result.

    Args:
        volume: read from DICOM.
        labels: (slice, row, column), as the volume: 0, or the number of the lesion.
        lesions: those numbers' lesions, from 1.
        algorithm: what found them.
        whole: bool, the shape of `labels`: lesions and the abnormality around them; None where the lesions are of the
            whole.

    Returns:
        The files by their names in the store, and warnings; no file where the study's headers do not allow any.
    """
    if not isinstance(volume.origin, SourceImages) or volume.grid is None:
        return {}, (NO_REFERENCE,)
    place = Placement(volume.origin, volume.grid, volume.spacing_mm)
    return write_findings(place, labels, lesions, algorithm, whole)


def write_findings(
    place: Placement,
    labels: LabelMap,
    lesions: Sequence[Lesion],
    algorithm: AlgorithmRun,
    whole: Mask | None,
    *,
    observation: Observation | None = None,
) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """The same for a study whose pixels are no longer in memory.

    Args:
        place: of the labels.
        labels: as in `write_results`.
        lesions: as in `write_results`.
        algorithm: as in `write_results`.
        whole: as in `write_results`.
        observation: of the person who reviewed them, if anyone has.

    Returns:
        As `write_results`.
    """
    if whole is not None:
        around = labels.dtype.type(len(lesions) + 1)
        labels = np.where((labels == 0) & whole, around, labels)
    source_labels = from_canonical(labels, place.grid).transpose(2, 1, 0)[list(place.origin.indices)]
    abnormality_mm3 = np.count_nonzero(labels > len(lesions)) * float(np.prod(place.spacing_mm or 1))
    found = Findings(lesions, whole is not None, abnormality_mm3, observation)
    try:
        with translate_errors(NOT_WRITTEN):
            segmentation = build_segmentation(place.origin, source_labels, found, algorithm)
            report = build_report(place.origin, segmentation, found, algorithm)
            return {SEGMENTATION_FILE: to_bytes(segmentation), REPORT_FILE: to_bytes(report)}, ()
    except UnreadableImage as error:
        log.warning("no DICOM results", extra={"job": algorithm.job, "error": type(error.__cause__).__name__})
        return {}, (NOT_WRITTEN,)


def to_bytes(dataset: Dataset) -> bytes:
    """A data set as a file."""
    target = BytesIO()
    dataset.save_as(target, enforce_file_format=True)
    return target.getvalue()
