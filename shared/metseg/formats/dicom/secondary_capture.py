"""DICOM Secondary Capture: pictures of slices with outlines, for a PACS that shows no SEG.

The pictures are a series of the source's study, derived and in colour. `BurnedInAnnotation` asks whether a picture
identifies the patient (PS3.3 C.7.6.1): what is drawn here does not, so the source's own statement is kept, and where it
makes none there is none.
"""

import hashlib
from typing import BinaryIO, NamedTuple

import numpy as np
from pydicom import dcmwrite
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from metseg.contracts import RESEARCH_ONLY, SHORT_DISCLAIMER, Grid
from metseg.formats.dicom.image_planes import image_planes
from metseg.formats.dicom.result_headers import start_result
from metseg.formats.dicom.segmentation import AlgorithmRun
from metseg.formats.dicom.source_headers import SourceImages
from metseg.formats.dicom.uids import make_uid
from metseg.imaging import UInt8Array, canonical_affine, slice_plane

__all__ = ["Capture", "CaptureSeries"]

SERIES_NUMBER = 9004
FRAME_AXIS = 2
"""Of the source's order: slices along it are its images."""
ORIENTATIONS = {"axial": ["L", "P"], "coronal": ["L", "F"], "sagittal": ["P", "F"]}
"""Where rows and columns of a slice run to, by its plane; `metseg.imaging.orientation` orders them so."""
FROM_SOURCE = (
    *("BurnedInAnnotation", "RecognizableVisualFeatures"),
    *("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"),
)


class Capture(NamedTuple):
    """A picture of a slice.

    Attributes:
        slice_index: of the slice.
        rgb: uint8, (row, column, 3).
        pixel_mm: between its rows and between its columns.
    """

    slice_index: int
    rgb: UInt8Array
    pixel_mm: tuple[float, float]


class CaptureSeries:
    """Writes the pictures of a result.

    Args:
        origin: the source images.
        grid: from slices to the source's order, with its affine.
        algorithm: what found the lesions.
        state: of the result, such as the number of its review; each one has a series.
    """

    def __init__(self, origin: SourceImages, grid: Grid, algorithm: AlgorithmRun, state: int) -> None:
        self._origin, self._grid, self._algorithm = origin, grid, algorithm
        self._series = make_uid(algorithm.job, "capture series", state)
        self._planes = image_planes(origin)
        affine = np.array(grid.affine)
        self._orientation = ORIENTATIONS[slice_plane(canonical_affine(grid, affine))]

    def write(self, capture: Capture, target: BinaryIO) -> None:
        """Write a picture as a file.

        Args:
            capture: the picture.
            target: where the file is written.
        """
        dataset = start_result(self._origin, SecondaryCaptureImageStorage, self._algorithm, SERIES_NUMBER)
        self._describe(dataset, capture)
        header = self._origin.headers[0]
        for keyword in FROM_SOURCE:
            if keyword in header:
                dataset[keyword] = header[keyword]
        if (source := self._source(capture.slice_index)) is not None:
            dataset.SourceImageSequence = [source]
        dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = capture.rgb.shape
        dataset.PhotometricInterpretation, dataset.PlanarConfiguration = "RGB", 0
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
        pixels = capture.rgb.tobytes()
        dataset.PixelData = pixels + bytes(len(pixels) % 2)
        dataset["PixelData"].VR = "OB"
        digest = hashlib.sha256(pixels).hexdigest()
        dataset.SOPInstanceUID = make_uid(self._series, "capture", capture.slice_index, digest)
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dcmwrite(target, dataset, enforce_file_format=True)

    def _describe(self, dataset: Dataset, capture: Capture) -> None:
        dataset.Modality, dataset.ConversionType = "OT", "WSD"
        dataset.BodyPartExamined = "BRAIN"
        dataset.SeriesInstanceUID = self._series
        dataset.SeriesDescription = f"metseg: outlines ({RESEARCH_ONLY.lower()})"
        dataset.InstanceNumber = capture.slice_index + 1
        dataset.ImageType = ["DERIVED", "SECONDARY"]
        dataset.DerivationDescription = "Windowed to 8 bits, scaled to square pixels, lesions outlined and numbered"
        dataset.PatientOrientation = self._orientation
        dataset.PixelSpacing = [f"{side:.6g}" for side in capture.pixel_mm]
        dataset.ImageComments = SHORT_DISCLAIMER

    def _source(self, index: int) -> Dataset | None:
        """The image that a slice shows; None where slices run across the images, and for a gap between images."""
        if self._grid.axes[0] != FRAME_AXIS:
            return None
        frame = self._grid.shape[FRAME_AXIS] - 1 - index if self._grid.flipped[0] else index
        return None if frame not in self._planes else self._planes[frame].reference()
