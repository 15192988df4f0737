"""Pictures of all slices with numbered outlines, as a DICOM series for a PACS that shows no SEG."""

from collections.abc import Iterator
from io import BytesIO
from typing import BinaryIO
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import cv2
import numpy as np

from metseg.contracts import RESEARCH_ONLY
from metseg.errors import NotAvailable
from metseg.formats import StoredSlices, dicom
from metseg.imaging import LESION_RGB, LabelMap, UInt8Array, decode_channel
from metseg.results.exports.contours import outline_slice, outlined_channel
from metseg.results.exports.finished_job import LESIONS, SOURCE_HEADERS, FinishedJob

__all__ = ["write_captures"]

MIN_SIDE_PX = 512
"""Smaller slices are enlarged, so that a line is thin against a small lesion."""
LINE_PX = 1
STAMP = f"metseg: {RESEARCH_ONLY.lower()}"
STAMP_RGB = (200, 200, 200)
COMPRESSION_LEVEL = 1


def write_captures(job: FinishedJob, target: BinaryIO) -> None:
    """Write the pictures as a ZIP of DICOM files, `0001.dcm` the first slice; equal results give equal bytes.

    Args:
        job: a finished job, of a study that was uploaded as DICOM.
        target: where the ZIP is written.

    Raises:
        NotFound: the study was not uploaded as DICOM.
        NotAvailable: the positions of its images are unknown.
    """
    with job.open_artefact(SOURCE_HEADERS) as stored:
        origin = dicom.read_source_archive(stored)
    result = job.result()
    if result.grid is None or result.grid.affine is None:
        raise NotAvailable("The positions of the images are not known, so there are no pictures in DICOM.")
    algorithm = dicom.AlgorithmRun(result.network, result.model_version, result.job_id)
    state = 0 if result.review is None else result.review.number
    series = dicom.CaptureSeries(origin, result.grid, algorithm, state)
    with ZipFile(target, "w") as archive:
        for capture in _captures(job):
            file = BytesIO()
            series.write(capture, file)
            name = ZipInfo(f"{capture.slice_index + 1:04d}.dcm")  # dated 1980
            archive.writestr(name, file.getvalue(), ZIP_DEFLATED, COMPRESSION_LEVEL)


def _captures(job: FinishedJob) -> Iterator[dicom.Capture]:
    result = job.result()
    channel, spacing_mm = outlined_channel(result.structure), result.spacing_mm or (1.0, 1.0, 1.0)
    side_px = max(MIN_SIDE_PX, *result.shape[1:])
    with job.open_artefact(LESIONS) as stored:
        for index, labels in enumerate(StoredSlices(stored)):
            grey = decode_channel(job.slice_png(index), labels.shape, channel)
            picture = np.ascontiguousarray(outline_slice(grey, labels > 0, spacing_mm, side_px, LINE_PX))
            scale = picture.shape[0] / labels.shape[0], picture.shape[1] / labels.shape[1]
            _number(picture, labels, scale)
            _write(picture, STAMP, (4, picture.shape[0] - 6), STAMP_RGB)
            yield dicom.Capture(index, picture, (spacing_mm[1] / scale[0], spacing_mm[2] / scale[1]))


def _number(picture: UInt8Array, labels: LabelMap, scale: tuple[float, float]) -> None:
    """Write each lesion's number at its upper right."""
    for number in np.unique(labels[labels > 0]).tolist():
        rows, columns = np.nonzero(labels == number)
        right, top = int((columns.max() + 1) * scale[1]) + 3, int(rows.min() * scale[0])
        _write(picture, str(number), (right, max(top, 12)), LESION_RGB)


def _write(picture: UInt8Array, text: str, at: tuple[int, int], rgb: tuple[int, int, int]) -> None:
    """Text with a dark rim, (column, row) of its lower left corner."""
    for colour, width in (((0, 0, 0), 3), (rgb, 1)):
        cv2.putText(picture, text, at, cv2.FONT_HERSHEY_PLAIN, 1, colour, width, cv2.LINE_AA)
