"""DICOM: series in, segmentations and structured reports out."""

from metseg.formats.dicom.longitudinal_report import (
    DatedStudy,
    FollowedLesion,
    read_segmentation_header,
    write_longitudinal_report,
)
from metseg.formats.dicom.results import REPORT_FILE, SEGMENTATION_FILE, Placement, write_findings, write_results
from metseg.formats.dicom.secondary_capture import Capture, CaptureSeries
from metseg.formats.dicom.segmentation import COLOURS, AlgorithmRun, Observation
from metseg.formats.dicom.source_archive import read_source_archive, store_source
from metseg.formats.dicom.structure_set import RegionKind, RegionOfInterest, write_structure_set
from metseg.formats.dicom.study import DicomStudyReader, open_study
from metseg.formats.dicom.submission import deidentify_uploads
from metseg.formats.dicom.uids import make_uid

__all__ = [
    "COLOURS",
    "REPORT_FILE",
    "SEGMENTATION_FILE",
    "AlgorithmRun",
    "Capture",
    "CaptureSeries",
    "DatedStudy",
    "DicomStudyReader",
    "FollowedLesion",
    "Observation",
    "Placement",
    "RegionKind",
    "RegionOfInterest",
    "deidentify_uploads",
    "make_uid",
    "open_study",
    "read_segmentation_header",
    "read_source_archive",
    "store_source",
    "write_findings",
    "write_longitudinal_report",
    "write_results",
    "write_structure_set",
]
