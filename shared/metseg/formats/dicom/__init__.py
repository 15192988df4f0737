"""DICOM: series in, segmentations and structured reports out."""

from metseg.formats.dicom.results import REPORT_FILE, SEGMENTATION_FILE, write_results
from metseg.formats.dicom.segmentation import AlgorithmRun
from metseg.formats.dicom.study import DicomStudyReader, open_study
from metseg.formats.dicom.submission import deidentify_uploads
from metseg.formats.dicom.uids import make_uid

__all__ = [
    "REPORT_FILE",
    "SEGMENTATION_FILE",
    "AlgorithmRun",
    "DicomStudyReader",
    "deidentify_uploads",
    "make_uid",
    "open_study",
    "write_results",
]
