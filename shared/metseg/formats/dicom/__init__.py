"""DICOM: series in, segmentations and structured reports out."""

from metseg.formats.dicom.results import REPORT, SEGMENTATION, results
from metseg.formats.dicom.segmentation import Finder
from metseg.formats.dicom.study import DicomStudy, study
from metseg.formats.dicom.submission import deidentified

__all__ = ["REPORT", "SEGMENTATION", "DicomStudy", "Finder", "deidentified", "results", "study"]
