"""The registry of exports: every file that people download of a finished job.

The REST routes, the client, the command line and the page take names, media types, file names and writers from here.
"""
# ruff: noqa: PLW0108 -- `exports.write_overlays` imports its module when it is evaluated, so a lambda puts that off

from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, Literal

from metseg.contracts import Result, Structure
from metseg.errors import InvalidParameter, NoCore
from metseg.results import exports
from metseg.results.exports.finished_job import (
    LESIONS,
    MASK,
    PROBABILITY,
    UNCERTAINTY,
    WHOLE_MASK,
    WHOLE_PROBABILITY,
    FinishedJob,
)

__all__ = [
    "EXPORTS",
    "MAX_MARGIN_MM",
    "Export",
    "LesionsFormat",
    "MaskFormat",
    "MaskStructure",
    "ProbabilityFormat",
    "Writer",
    "find_export",
    "media_types",
]

Kind = Literal[
    "mask",
    "structured-report",
    "secondary-capture",
    "probability",
    "uncertainty",
    "overlays",
    "lesions",
    "report",
    "animation",
]
MaskFormat = Literal["nifti", "zip", "png", "tiff", "dicom-seg", "rtstruct"]
ProbabilityFormat = Literal["nifti", "png", "tiff", "zip"]
LesionsFormat = Literal["csv", "json"]
MaskStructure = Literal["whole", "core", "labels", "lesions"]
"""`labels` is 1 in the core and 2 in the rest of the whole; `lesions` is the number of each lesion."""

DICOM, GZIP, JSON, ZIP = "application/dicom", "application/gzip", "application/json", "application/zip"
PNG, TIFF = "image/png", "image/tiff"


Writer = Callable[[FinishedJob, BinaryIO], None]
"""Writes a file that is made of a job to a seekable target."""
MAX_MARGIN_MM = 30
CORE: Structure = "core"
DEFAULT_STRUCTURE: Structure = "whole"
"""Of a URL that names none; it is always known."""
WHOLE = {MASK: WHOLE_MASK, PROBABILITY: WHOLE_PROBABILITY}
"""The artefacts of the whole where the lesions are of the core."""


@dataclass(frozen=True)
class Export:
    """One file that people download of a finished job.

    Attributes:
        name: unique; what `metseg segment --formats` takes.
        title: for people.
        kind: what the file shows; the last segment of its URL, `/v1/jobs/{id}/{kind}`.
        format: of the URL's query, where the kind has several.
        media_type: of the file.
        file_name: with its suffix.
        write: writes the file to a seekable target; imaging libraries are imported when it runs.
        source: the stored artefact that the file is made of, and whose ETag says whether it has changed.
        structure: that a mask or probability map is of, and its URL's query says; None for what is of all.
        disposition: whether a browser saves or displays the file.
        needs_dicom: whether it exists only for studies that were uploaded as DICOM.
        margin_mm: around each GTV, of its PTV; 0 where there is none.
    """

    name: str
    title: str
    kind: Kind
    format: str | None
    media_type: str
    file_name: str
    write: Writer
    source: str = MASK
    structure: MaskStructure | None = None
    disposition: Literal["attachment", "inline"] = "attachment"
    needs_dicom: bool = False
    margin_mm: float = 0

    @property
    def is_stored(self) -> bool:
        """Whether the worker has made the file already, so that the store has it as it is."""
        return self.needs_dicom and self.source == self.file_name

    @property
    def query(self) -> dict[str, str]:
        """The query of the URL."""
        structure = {} if self.structure in (None, DEFAULT_STRUCTURE) else {"structure": str(self.structure)}
        margin = {"margin_mm": f"{self.margin_mm:g}"} if self.margin_mm else {}
        return ({} if self.format is None else {"format": self.format}) | structure | margin

    def is_copy(self, result: Result) -> bool:
        """Whether the file is its source as it is stored in a certain job: one mask or map, on the grid of the study.

        An upload in NIfTI gets its own grid back.
        """
        keeps_grid = result.grid is None or result.grid.nifti is None
        return self.format == "nifti" and self.structure != "labels" and keeps_grid

    def source_of(self, result: Result) -> str:
        """The artefact that the file is made of in a certain job.

        Raises:
            NoCore: the export is of the core, which the job could not know.
        """
        if self.structure in ("core", "labels") and result.structure != "core":
            raise NoCore(
                "The core is not known: the study has no post-contrast T1, or the model segments the whole alone. Ask "
                "for structure=whole."
            )
        if self.structure == "whole" and result.structure == "core":
            return WHOLE[self.source]
        return self.source


def _mask(
    name: str,
    title: str,
    format: ProbabilityFormat,
    media_type: str,
    file_name: str,
    *,
    of: MaskStructure = DEFAULT_STRUCTURE,
    source: str = MASK,
) -> Export:
    def write(job: FinishedJob, target: BinaryIO) -> None:
        exports.export_mask(job, target, format, export.source_of(job.result()))

    export = Export(name, title, "mask", format, media_type, file_name, write, source, of)
    return export


def _label_map() -> Export:
    def write(job: FinishedJob, target: BinaryIO) -> None:
        export.source_of(job.result())
        exports.export_label_map(job, target)

    export = Export("labels", "Label map, NIfTI", "mask", "nifti", GZIP, "labels.nii.gz", write, structure="labels")
    return export


def _probability(
    name: str,
    title: str,
    format: ProbabilityFormat,
    media_type: str,
    file_name: str,
    *,
    of: Structure = DEFAULT_STRUCTURE,
) -> Export:
    def write(job: FinishedJob, target: BinaryIO) -> None:
        exports.export_probability(job, target, format, export.source_of(job.result()))

    export = Export(name, title, "probability", format, media_type, file_name, write, PROBABILITY, of)
    return export


def _uncertainty(name: str, title: str, format: ProbabilityFormat, media_type: str, file_name: str) -> Export:
    def write(job: FinishedJob, target: BinaryIO) -> None:
        exports.export_uncertainty(job, target, format)

    return Export(name, title, "uncertainty", format, media_type, file_name, write, source=UNCERTAINTY)


def _dicom(name: str, title: str, kind: Kind, format: MaskFormat | None, file_name: str) -> Export:
    def write(job: FinishedJob, target: BinaryIO) -> None:
        exports.copy_artefact(job, target, file_name)

    return Export(name, title, kind, format, DICOM, file_name, write, source=file_name, needs_dicom=True)


def _structure_set(margin_mm: float = 0) -> Export:
    def write(job: FinishedJob, target: BinaryIO) -> None:
        exports.write_structure_set(job, target, margin_mm)

    file_name = f"structure_set_{margin_mm:g}mm.dcm" if margin_mm else "structure_set.dcm"
    title = f"Contours with {margin_mm:g} mm" if margin_mm else "Contours"
    return Export(
        "rtstruct", f"{title}, DICOM RTSTRUCT", "mask", "rtstruct", DICOM, file_name, write,
        source=LESIONS, needs_dicom=True, margin_mm=margin_mm,
    )  # fmt: skip


_EXPORTS = (
    _mask("nifti", "Mask, NIfTI", "nifti", GZIP, "mask.nii.gz"),
    _mask("zip", "Masks, ZIP", "zip", ZIP, "masks.zip"),
    _mask("png", "Mask, PNG", "png", PNG, "mask.png"),
    _mask("tiff", "Mask, TIFF", "tiff", TIFF, "mask.tiff"),
    _mask("core", "Core mask, NIfTI", "nifti", GZIP, "core.nii.gz", of=CORE),
    _mask("core-zip", "Core masks, ZIP", "zip", ZIP, "core_masks.zip", of=CORE),
    _mask("core-png", "Core mask, PNG", "png", PNG, "core.png", of=CORE),
    _mask("core-tiff", "Core mask, TIFF", "tiff", TIFF, "core.tiff", of=CORE),
    _label_map(),
    _mask("lesion-numbers", "Lesion numbers, NIfTI", "nifti", GZIP, LESIONS, of="lesions", source=LESIONS),
    _dicom("dicom-seg", "Mask, DICOM SEG", "mask", "dicom-seg", "segmentation.dcm"),
    _structure_set(),
    _dicom("structured-report", "Measurements, DICOM SR", "structured-report", None, "report.dcm"),
    Export(
        "secondary-capture", "Outlined slices, DICOM", "secondary-capture", None, ZIP, "secondary_capture.zip",
        lambda job, target: exports.write_captures(job, target), source=LESIONS, needs_dicom=True,
    ),
    _probability("probability", "Probability, NIfTI", "nifti", GZIP, "probability.nii.gz"),
    _probability("probability-png", "Probability, PNG", "png", PNG, "probability.png"),
    _probability("probability-tiff", "Probability, TIFF", "tiff", TIFF, "probability.tiff"),
    _probability("probability-zip", "Probabilities, ZIP", "zip", ZIP, "probabilities.zip"),
    _probability("core-probability", "Core probability, NIfTI", "nifti", GZIP, "core_probability.nii.gz", of=CORE),
    _probability("core-probability-png", "Core probability, PNG", "png", PNG, "core_probability.png", of=CORE),
    _probability("core-probability-tiff", "Core probability, TIFF", "tiff", TIFF, "core_probability.tiff", of=CORE),
    _probability("core-probability-zip", "Core probabilities, ZIP", "zip", ZIP, "core_probabilities.zip", of=CORE),
    _uncertainty("uncertainty", "Uncertainty, NIfTI", "nifti", GZIP, "uncertainty.nii.gz"),
    _uncertainty("uncertainty-png", "Uncertainty, PNG", "png", PNG, "uncertainty.png"),
    _uncertainty("uncertainty-tiff", "Uncertainty, TIFF", "tiff", TIFF, "uncertainty.tiff"),
    _uncertainty("uncertainty-zip", "Uncertainties, ZIP", "zip", ZIP, "uncertainties.zip"),
    Export(
        "overlays", "Outlined slices, ZIP", "overlays", None, ZIP, "overlays.zip",
        lambda job, target: exports.write_overlays(job, target),
    ),
    Export(
        "csv", "Lesions, CSV", "lesions", "csv", "text/csv", "lesions.csv",
        lambda job, target: exports.write_lesions_csv(job, target),
    ),
    Export(
        "json", "Lesions, JSON", "lesions", "json", JSON, "lesions.json",
        lambda job, target: exports.write_lesions_json(job, target),
    ),
    Export(
        "report", "Report to print, HTML", "report", None, "text/html", "report.html",
        lambda job, target: exports.render_report(job, target), disposition="inline",
    ),
    Export(
        "animation", "Animation, WebP", "animation", None, "image/webp", "animation.webp",
        lambda job, target: exports.render_animation(job, target), disposition="inline",
    ),
)  # fmt: skip

EXPORTS = {export.name: export for export in _EXPORTS}
"""By name."""


def find_export(
    kind: Kind, format: str | None = None, structure: MaskStructure = DEFAULT_STRUCTURE, margin_mm: float = 0
) -> Export:
    """The export at a URL.

    Args:
        kind: the last segment of the path.
        format: of the query; None for a kind that has only one.
        structure: of the query; of no matter to a file that holds all.
        margin_mm: of the query; around each GTV, of its PTV.

    Returns:
        The export.

    Raises:
        InvalidParameter: the kind has no such format, or the structure has none; or there is no such margin.
    """
    if margin_mm:
        if format != "rtstruct":
            raise InvalidParameter("Only the format rtstruct has a margin.")
        if not 0 <= margin_mm <= MAX_MARGIN_MM:
            raise InvalidParameter(f"A margin is from 0 to {MAX_MARGIN_MM} mm.")
        return _structure_set(margin_mm)
    for export in EXPORTS.values():
        if (export.kind, export.format) == (kind, format) and export.structure in (None, structure):
            return export
    of_structure = f" of structure={structure}" if structure != DEFAULT_STRUCTURE else ""
    raise InvalidParameter(f"There is no {kind}{of_structure} in the format {format}.")


def media_types(kind: Kind) -> list[str]:
    """The media types of all exports of a kind."""
    return list(dict.fromkeys(export.media_type for export in EXPORTS.values() if export.kind == kind))
