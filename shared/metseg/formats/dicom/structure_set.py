"""DICOM RT Structure Set: contours for planning systems, on the images of the source.

A contour runs along pixel edges in the plane of its image, so that it encloses the voxels of the mask and no others;
holes are keyholes (PS3.3 C.8.8.6.3). The set is not approved, and its contours are proposals. Its identifiers follow
from the job and the contours: equal contours give an equal file, others are another instance of the same series.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, tzinfo
from typing import BinaryIO, Literal, NamedTuple

import numpy as np
from pydicom import dcmwrite
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import UID, RTStructureSetStorage

from metseg.contracts import RESEARCH_ONLY, SHORT_DISCLAIMER, OutlinedBy
from metseg.errors import NotAvailable
from metseg.formats.dicom.image_planes import ImagePlane, image_planes
from metseg.formats.dicom.result_headers import start_result
from metseg.formats.dicom.segmentation import ALGORITHM_TYPES, MANUFACTURER, AlgorithmRun
from metseg.formats.dicom.source_headers import SourceImages
from metseg.formats.dicom.uids import make_uid
from metseg.imaging import Float64Array, Mask, outline_polygons

__all__ = ["MAX_CORNERS", "RegionKind", "RegionOfInterest", "write_structure_set"]

RegionKind = Literal["GTV", "PTV", ""]

SERIES_NUMBER = 9003
MAX_CORNERS = 500_000
"""Of all contours. A mask that needs more is noise, and no planning system could show it."""
CONTOUR_DATA = Tag(0x3006, 0x0050)
STUDY_CLASS = UID("1.2.840.10008.3.1.2.3.1")
"""Detached Study Management, retired: what C.8.8.5 wants for a study."""
DECIMALS = 4  # of a coordinate in mm


class RegionOfInterest(NamedTuple):
    """A region to be contoured.

    Attributes:
        name: at most 16 characters, which every planning system shows in full.
        description: for people.
        kind: GTV, PTV, or empty for what is no target.
        rgb: its colour.
        outlined_by: the model, a reader, or both.
        volume_mm3: of the voxels.
        mask: bool, (frame, row, column) of the source.
        first: the source's frame, row and column of the mask's first voxel; may be negative.
    """

    name: str
    description: str
    kind: RegionKind
    rgb: tuple[int, int, int]
    outlined_by: OutlinedBy
    volume_mm3: float
    mask: Mask
    first: tuple[int, int, int]


def write_structure_set(
    origin: SourceImages,
    regions: Iterable[RegionOfInterest],
    algorithm: AlgorithmRun,
    made_at: datetime | None,
    target: BinaryIO,
) -> None:
    """Write the structure set of a result.

    Args:
        origin: the source images.
        regions: in order; one mask of them is in memory at a time.
        algorithm: what found them.
        made_at: when the job finished, or None if unknown.
        target: where the file is written, in implicit VR: explicit lengths are too short for a long contour.

    Raises:
        NotAvailable: the regions have more corners than `MAX_CORNERS`.
    """
    dataset = start_result(origin, RTStructureSetStorage, algorithm, SERIES_NUMBER)
    dataset.Modality = "RTSTRUCT"
    dataset.SeriesInstanceUID = make_uid(algorithm.job, "structure set series")
    dataset.SeriesDescription = f"metseg: contours ({RESEARCH_ONLY.lower()})"
    dataset.InstanceNumber = 1
    dataset.StructureSetLabel = MANUFACTURER
    dataset.StructureSetName = "Proposed contours"
    dataset.StructureSetDescription = SHORT_DISCLAIMER
    dataset.StructureSetDate, dataset.StructureSetTime = _date_and_time(made_at, dataset)
    dataset.ApprovalStatus = "UNAPPROVED"
    planes = image_planes(origin)
    header = origin.headers[0]
    frame_of_reference = dataset.FrameOfReferenceUID = str(header.FrameOfReferenceUID)
    dataset.PositionReferenceIndicator = header.get("PositionReferenceIndicator", "")
    dataset.ReferencedFrameOfReferenceSequence = [_referenced_frame_of_reference(origin, planes.values())]
    dataset.StructureSetROISequence, dataset.ROIContourSequence, dataset.RTROIObservationsSequence = [], [], []
    corners, digest = 0, hashlib.sha256()
    for number, region in enumerate(regions, start=1):
        contours = []
        for contour, count in _contours(region, planes):
            corners += count
            if corners > MAX_CORNERS:
                raise NotAvailable("The mask is too intricate for contours; request nifti or dicom-seg.")
            digest.update(contour.get_item(CONTOUR_DATA).value)
            contours.append(contour)
        digest.update(repr((region.name, region.description)).encode())
        dataset.StructureSetROISequence.append(_structure(number, region, frame_of_reference, algorithm))
        dataset.ROIContourSequence.append(_roi_contour(number, region, contours))
        dataset.RTROIObservationsSequence.append(_observation(number, region))
    dataset.SOPInstanceUID = make_uid(algorithm.job, "structure set", digest.hexdigest())
    dcmwrite(target, dataset, enforce_file_format=True)


def _date_and_time(made_at: datetime | None, dataset: Dataset) -> tuple[str, str]:
    """In the time zone that the study states, otherwise UTC; empty if unknown."""
    if made_at is None:
        return "", ""
    zone: tzinfo = UTC
    with suppress(ValueError):
        zone = datetime.strptime(str(dataset.get("TimezoneOffsetFromUTC", "")), "%z").tzinfo or UTC
    local = made_at.astimezone(zone)
    return local.strftime("%Y%m%d"), local.strftime("%H%M%S")


def _contours(region: RegionOfInterest, planes: Mapping[int, ImagePlane]) -> Iterator[tuple[Dataset, int]]:
    """The contours of a region, and how many corners each has."""
    for index, mask in enumerate(region.mask, start=region.first[0]):
        if mask.any():
            plane = planes.get(index) or _plane_of_gap(index, planes)
            for polygon in outline_polygons(mask):
                yield _contour(plane, polygon + region.first[1:]), len(polygon)


def _plane_of_gap(index: int, planes: Mapping[int, ImagePlane]) -> ImagePlane:
    """Where an image between the first and the last one is missing."""
    first, last = min(planes), max(planes)
    share = (index - first) / (last - first)
    position = planes[first].position + share * (planes[last].position - planes[first].position)
    return planes[first]._replace(position=position, instance=None)


def _contour(plane: ImagePlane, corners: Float64Array) -> Dataset:
    points = plane.position + corners[:, :1] * plane.row_step + corners[:, 1:] * plane.column_step
    points = np.round(points, DECIMALS) + 0.0  # no minus zero
    value = "\\".join(f"{each:.{DECIMALS}f}".rstrip("0").rstrip(".") for each in points.ravel()).encode()
    value += b" " * (len(value) % 2)
    contour = Dataset()
    if plane.instance is not None:
        contour.ContourImageSequence = [plane.reference()]
    contour.ContourGeometricType = "CLOSED_PLANAR"
    contour.NumberOfContourPoints = len(corners)
    # Raw, since pydicom would make three objects of each corner.
    contour[CONTOUR_DATA] = RawDataElement(CONTOUR_DATA, "DS", len(value), value, 0, True, True)
    return contour


def _referenced_frame_of_reference(origin: SourceImages, planes: Iterable[ImagePlane]) -> Dataset:
    """The frame of reference, with the study, the series and the images that the contours are on."""
    header = origin.headers[0]
    series, study, frame_of_reference = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID = header.SeriesInstanceUID
    series.ContourImageSequence = [plane.reference() for plane in planes]
    study.ReferencedSOPClassUID, study.ReferencedSOPInstanceUID = STUDY_CLASS, header.StudyInstanceUID
    study.RTReferencedSeriesSequence = [series]
    frame_of_reference.FrameOfReferenceUID = header.FrameOfReferenceUID
    frame_of_reference.RTReferencedStudySequence = [study]
    return frame_of_reference


def _structure(number: int, region: RegionOfInterest, frame_of_reference: str, algorithm: AlgorithmRun) -> Dataset:
    item = Dataset()
    item.ROINumber = number
    item.ReferencedFrameOfReferenceUID = frame_of_reference
    item.ROIName = region.name
    item.ROIDescription = region.description
    item.ROIVolume = f"{region.volume_mm3 / 1000:.6g}"  # in cubic centimetres
    item.ROIGenerationAlgorithm = ALGORITHM_TYPES[region.outlined_by]
    item.ROIGenerationDescription = f"{MANUFACTURER} {algorithm.network} {algorithm.version}"[:64]
    return item


def _roi_contour(number: int, region: RegionOfInterest, contours: Sequence[Dataset]) -> Dataset:
    item = Dataset()
    item.ROIDisplayColor = list(region.rgb)
    item.ContourSequence = contours
    item.ReferencedROINumber = number
    return item


def _observation(number: int, region: RegionOfInterest) -> Dataset:
    item = Dataset()
    item.ObservationNumber = number
    item.ReferencedROINumber = number
    item.ROIObservationLabel = region.name
    item.RTROIInterpretedType = region.kind
    item.ROIInterpreter = ""
    return item
