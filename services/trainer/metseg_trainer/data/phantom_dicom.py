"""Head phantoms as DICOM studies with outlines."""

from collections.abc import Mapping
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import UID, ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid

from metseg.imaging import LPS_TO_RAS, Float64Array, Mask
from metseg.phantom import Phantom
from metseg.phantom import dicom as phantom_dicom

__all__ = ["write_with_segmentation", "write_with_structure_set"]


SUBPIXELS = 8
"""Contours run along the edges of pixels, on a grid this many times as fine."""


def write_with_segmentation(folder: Path, number: int, head: Phantom) -> None:
    """Write a study with a DICOM SEG of necrosis, oedema and enhancing tumour.

    Args:
        folder: of all studies.
        number: of the study.
        head: with its labels.
    """
    from highdicom.content import AlgorithmIdentificationSequence
    from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription
    from pydicom.sr.codedict import codes

    source = _write_series(folder / f"patient_{number:03d}", number, head)
    names = {1: ("Necrosis", codes.SCT.Necrosis), 2: ("Edema", codes.SCT.Edema), 3: ("Enhancing", codes.SCT.Neoplasm)}
    described = [
        SegmentDescription(
            segment_number=label,
            segment_label=name,
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=code,
            algorithm_type=SegmentAlgorithmTypeValues.SEMIAUTOMATIC,
            algorithm_identification=AlgorithmIdentificationSequence(
                name="phantom", family=codes.cid7162.ArtificialIntelligence, version="1"
            ),
        )
        for label, (name, code) in names.items()
    ]
    segmentation = Segmentation(
        source_images=source, pixel_array=head.labels, segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=described, series_instance_uid=_uid(number, "seg series"), series_number=90,
        sop_instance_uid=_uid(number, "seg"), instance_number=1, manufacturer="metseg",
        manufacturer_model_name="phantom",
        software_versions="1", device_serial_number="1", transfer_syntax_uid=ExplicitVRLittleEndian,
    )  # fmt: skip
    segmentation.save_as(folder / f"patient_{number:03d}" / "segmentation.dcm")


def write_with_structure_set(folder: Path, number: int, head: Phantom) -> None:
    """Write a study with a DICOM RTSTRUCT of the core (GTV), the oedema and an organ.

    Args:
        folder: of all studies.
        number: of the study.
        head: with its labels.
    """
    source = _write_series(folder / f"patient_{number:03d}", number, head)
    regions = {"GTV": np.isin(head.labels, (1, 3)), "Edema": head.labels == 2, "Brainstem": head.labels > 0}
    structures = _structure_set(number, source, regions, head.volume.affine)
    structures.save_as(folder / f"patient_{number:03d}" / "structures.dcm", enforce_file_format=True)


def _write_series(folder: Path, number: int, head: Phantom) -> list[Dataset]:
    """Write the three series; returns the post-contrast slices from the feet up."""
    folder.mkdir(parents=True)
    source: list[Dataset] = []
    for channel, (role, parameters) in enumerate(phantom_dicom.SERIES_PARAMETERS.items()):
        own = replace(parameters, patient=("Phantom^Procedural", f"PHANTOM-{number}"), study=f"phantom {number}")
        assert head.volume.affine is not None  # noqa: S101
        files = phantom_dicom.series_files(
            head.volume.pixels[..., channel].astype(np.uint16) * 16, head.volume.affine, own
        )
        for name, content in files.items():
            (folder / name).write_bytes(content)
        if role == "post":
            source = [pydicom.dcmread(BytesIO(content)) for content in files.values()]
    return sorted(source, key=lambda one: float(one.ImagePositionPatient[2]))


def _structure_set(
    number: int, source: list[Dataset], regions: Mapping[str, Mask], affine: Float64Array | None
) -> Dataset:
    first, made = source[0], Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = RTStructureSetStorage
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = _uid(number, "structures")
    made.SeriesInstanceUID, made.StudyInstanceUID = _uid(number, "structure series"), first.StudyInstanceUID
    made.PatientID, made.PatientName, made.Modality = first.PatientID, first.PatientName, "RTSTRUCT"
    made.StructureSetLabel = "phantom"
    series = _item(SeriesInstanceUID=first.SeriesInstanceUID)
    study = _item(RTReferencedSeriesSequence=Items([series]))
    frame = _item(FrameOfReferenceUID=first.FrameOfReferenceUID, RTReferencedStudySequence=Items([study]))
    made.ReferencedFrameOfReferenceSequence = Items([frame])
    made.StructureSetROISequence = Items(
        _item(ROINumber=index, ROIName=name, ReferencedFrameOfReferenceUID=first.FrameOfReferenceUID)
        for index, name in enumerate(regions, start=1)
    )
    made.ROIContourSequence = Items(
        _item(
            ReferencedROINumber=index,
            ContourSequence=Items(
                _item(
                    ContourGeometricType="CLOSED_PLANAR", NumberOfContourPoints=len(points), ContourData=_flat(points)
                )
                for points in _contours(mask, np.asarray(affine))
            ),
        )
        for index, mask in enumerate(regions.values(), start=1)
    )
    return made


def _contours(mask: Mask, affine: Float64Array) -> list[Float64Array]:
    """The edges of a mask as closed polygons, (point, xyz) in LPS millimetres."""
    found = []
    for index, one in enumerate(mask):
        fine = one.astype(np.uint8).repeat(SUBPIXELS, axis=0).repeat(SUBPIXELS, axis=1)
        for outline in cv2.findContours(fine, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)[0]:
            voxels = (outline[:, 0].astype(np.float64) + 0.5) / SUBPIXELS - 0.5
            points = np.column_stack([voxels, np.full(len(voxels), index), np.ones(len(voxels))])
            found.append((points @ affine.T @ LPS_TO_RAS)[:, :3])
    return found


def _flat(points: Float64Array) -> list[str]:
    return [f"{value:.4f}" for value in points.ravel()]


def _item(**elements: Any) -> Dataset:  # noqa: ANN401
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return item


def _uid(number: int, what: str) -> UID:
    return UID(generate_uid(entropy_srcs=["metseg phantom", str(number), what]))
