"""DICOM: series in, segmentations and structured reports out."""

from metseg.formats.dicom.results import REPORT, SEGMENTATION, results
from metseg.formats.dicom.segmentation import Finder
from metseg.formats.dicom.study import DicomStudy, study

__all__ = ["REPORT", "SEGMENTATION", "DicomStudy", "Finder", "results", "study"]
