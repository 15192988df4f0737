"""DICOM: the MR series of a study, outlined by segmentations (SEG) or structure sets (RTSTRUCT).

Series become sequences as in serving. Segments and regions are recognised by their names, or by a segment's coded type;
regions of other organs are not used. A study is named after its folder, never after a patient.
"""

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom
from pydicom.errors import InvalidDicomError

from metseg.formats import HEAD_BYTES, detect_kind
from metseg_trainer.data.layouts.files import Case, Cases, list_files, subset_of
from metseg_trainer.data.layouts.structure_names import labels_from_names, structure_from_name
from metseg_trainer.data.layouts.studies import FolderContents, ImageFiles, Label, StructureLabels, TruthFiles

__all__ = ["find_dicom"]

HEADERS = [
    "PatientID", "StudyInstanceUID", "SeriesInstanceUID", "Modality", "ReferencedSeriesSequence", "SegmentSequence",
    "ReferencedFrameOfReferenceSequence", "StructureSetROISequence",
]  # fmt: skip
OF_TUMOUR = re.compile(r"tumou?r|lesion|mass\b", re.IGNORECASE)
"""A region with such a name is ambiguous; any other unknown one is an organ or a margin."""


@dataclass
class _Study:
    """The files of a DICOM study."""

    patient: str
    series: dict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))
    outlines: list[tuple[Path, Any]] = field(default_factory=list)
    others: set[str] = field(default_factory=set)


def find_dicom(folder: Path) -> FolderContents | None:
    """The studies of DICOM files below a folder; None if there are none."""
    headers = [(path, header) for path in list_files(folder) if (header := _header(path)) is not None]
    if not headers:
        return None
    studies = _grouped(headers)
    cases, labels = Cases(), dict[str, StructureLabels]()
    for study in studies:
        id = _name(folder, study, cases)
        cases[id] = _case(folder, study)
        labels[id] = _labels(study)
    return cases.contents("DICOM", labels)


def _header(path: Path) -> Any | None:  # noqa: ANN401 (pydicom's elements have no useful type)
    """The header of a DICOM file; None for any other file."""
    with path.open("rb") as file:
        if detect_kind(file.read(HEAD_BYTES)) != "dicom":
            return None
    try:
        return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=HEADERS, force=True)
    except (InvalidDicomError, OSError, ValueError):
        return None


def _grouped(headers: Sequence[tuple[Path, Any]]) -> list[_Study]:
    """Series and outlines by study; outlines belong to the study of the series on which they were drawn."""
    studies: dict[str, _Study] = {}
    study_of_series: dict[str, str] = {}
    for path, header in headers:
        uid = str(header.get("StudyInstanceUID", ""))
        study = studies.setdefault(uid, _Study(str(header.get("PatientID", "") or uid)))
        if header.get("Modality") == "MR":
            study.series[str(header.SeriesInstanceUID)].append(path)
            study_of_series[str(header.SeriesInstanceUID)] = uid
    for path, header in headers:
        uid = str(header.get("StudyInstanceUID", ""))
        if header.get("Modality") in ("SEG", "RTSTRUCT"):
            drawn_on = next((study_of_series[each] for each in _referenced(header) if each in study_of_series), uid)
            studies[drawn_on].outlines.append((path, header))
        elif header.get("Modality") != "MR":
            studies[uid].others.add(f"{header.get('Modality', 'unknown')} series")
    return [study for _, study in sorted(studies.items()) if study.series or study.outlines]


def _referenced(header: Any) -> list[str]:  # noqa: ANN401
    """The UIDs of the series to which outlines refer."""
    if header.get("Modality") == "SEG":
        return [str(each.SeriesInstanceUID) for each in header.get("ReferencedSeriesSequence") or []]
    return [
        str(series.SeriesInstanceUID)
        for frame in header.get("ReferencedFrameOfReferenceSequence") or []
        for study in frame.get("RTReferencedStudySequence") or []
        for series in study.get("RTReferencedSeriesSequence") or []
    ]


def _name(folder: Path, study: _Study, taken: Iterable[str]) -> str:
    """The folder that holds all files of a study; numbered if that is not unique."""
    files = [path for paths in study.series.values() for path in paths] or [path for path, _ in study.outlines]
    common = Path(os.path.commonpath([path.parent for path in files])).relative_to(folder).as_posix()
    name = "study" if common == "." else common
    same = sum(1 for other in taken if other == name or other.startswith(f"{name} ("))
    return name if not same else f"{name} ({same + 1})"


def _case(folder: Path, study: _Study) -> Case:
    case = Case(person=hashlib.sha256(study.patient.encode()).hexdigest()[:16], left_out=sorted(study.others))
    files = [path for paths in study.series.values() for path in paths]
    if files:
        case.images[None] = ImageFiles(tuple(files))
        case.subset = subset_of(files[0].relative_to(folder).parts[:-1])
    for path, header in study.outlines:
        if header.Modality == "SEG":
            case.truth.append(TruthFiles((path,), "seg"))
            continue
        drawn_on = next((each for each in _referenced(header) if each in study.series), None)
        case.truth.append(TruthFiles((path,), "rtstruct", reference=tuple(study.series[drawn_on] if drawn_on else ())))
    return case


def _labels(study: _Study) -> StructureLabels:
    """The meaning of segments and regions; the label of each is its name."""
    names: dict[str, frozenset[Label]] = {}
    for _, header in study.outlines:
        for segment in header.get("SegmentSequence") or []:
            label = str(segment.SegmentLabel)
            coded = segment.get("SegmentedPropertyTypeCodeSequence") or []
            meaning = str(coded[0].get("CodeMeaning", "")) if coded else ""
            name = label if structure_from_name(label) is not None or not structure_from_name(meaning) else meaning
            names[name] = names.get(name, frozenset()) | {label}
        for region in header.get("StructureSetROISequence") or []:
            label = str(region.ROIName)
            if structure_from_name(label) is not None or OF_TUMOUR.search(label):
                names[label] = frozenset({label})
    return labels_from_names(names, others_ignored=True)
