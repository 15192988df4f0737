"""The registry of exports: every file that people download of a finished job.

The REST routes, the client, the command line and the page take names, media types, file names and writers from here.
"""
# ruff: noqa: PLW0108 -- `exports.write_overlays` imports its module when it is evaluated, so a lambda puts that off

from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, Literal

from metseg.errors import InvalidParameter
from metseg.results import exports
from metseg.results.exports.finished_job import FinishedJob

__all__ = [
    "EXPORTS",
    "Export",
    "LesionsFormat",
    "MaskFormat",
    "ProbabilityFormat",
    "Writer",
    "find_export",
    "media_types",
]

Kind = Literal["mask", "structured-report", "probability", "uncertainty", "overlays", "lesions", "report", "animation"]
MaskFormat = Literal["nifti", "zip", "png", "tiff", "dicom-seg"]
ProbabilityFormat = Literal["nifti", "png", "tiff", "zip"]
LesionsFormat = Literal["csv", "json"]

DICOM, GZIP, JSON, ZIP = "application/dicom", "application/gzip", "application/json", "application/zip"
PNG, TIFF = "image/png", "image/tiff"


Writer = Callable[[FinishedJob, BinaryIO], None]
"""Writes a file that is made of a job to a seekable target."""


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
        disposition: whether a browser saves or displays the file.
    """

    name: str
    title: str
    kind: Kind
    format: str | None
    media_type: str
    file_name: str
    write: Writer
    source: str = "mask.nii.gz"
    disposition: Literal["attachment", "inline"] = "attachment"

    @property
    def is_dicom(self) -> bool:
        """Whether the worker has made the file already, for studies that were uploaded as DICOM only."""
        return self.media_type == DICOM

    @property
    def query(self) -> dict[str, str]:
        """The query of the URL."""
        return {} if self.format is None else {"format": self.format}


def _mask(name: str, title: str, format: ProbabilityFormat, media_type: str, file_name: str) -> Export:
    def write(job: FinishedJob, target: BinaryIO) -> None:
        exports.export_mask(job, target, format)

    return Export(name, title, "mask", format, media_type, file_name, write)


def _probability(name: str, title: str, format: ProbabilityFormat, media_type: str, file_name: str) -> Export:
    def write(job: FinishedJob, target: BinaryIO) -> None:
        exports.export_probability(job, target, format)

    return Export(name, title, "probability", format, media_type, file_name, write, source="probability.nii.gz")


def _uncertainty(name: str, title: str, format: ProbabilityFormat, media_type: str, file_name: str) -> Export:
    def write(job: FinishedJob, target: BinaryIO) -> None:
        exports.export_uncertainty(job, target, format)

    return Export(name, title, "uncertainty", format, media_type, file_name, write, source="uncertainty.nii.gz")


def _dicom(name: str, title: str, kind: Kind, format: MaskFormat | None, file_name: str) -> Export:
    def write(job: FinishedJob, target: BinaryIO) -> None:
        exports.copy_artefact(job, target, file_name)

    return Export(name, title, kind, format, DICOM, file_name, write, source=file_name)


_EXPORTS = (
    _mask("nifti", "Mask, NIfTI", "nifti", GZIP, "mask.nii.gz"),
    _mask("zip", "Masks, ZIP", "zip", ZIP, "masks.zip"),
    _mask("png", "Mask, PNG", "png", PNG, "mask.png"),
    _mask("tiff", "Mask, TIFF", "tiff", TIFF, "mask.tiff"),
    _dicom("dicom-seg", "Mask, DICOM SEG", "mask", "dicom-seg", "segmentation.dcm"),
    _dicom("structured-report", "Measurements, DICOM SR", "structured-report", None, "report.dcm"),
    _probability("probability", "Probability, NIfTI", "nifti", GZIP, "probability.nii.gz"),
    _probability("probability-png", "Probability, PNG", "png", PNG, "probability.png"),
    _probability("probability-tiff", "Probability, TIFF", "tiff", TIFF, "probability.tiff"),
    _probability("probability-zip", "Probabilities, ZIP", "zip", ZIP, "probabilities.zip"),
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


def find_export(kind: Kind, format: str | None = None) -> Export:
    """The export at a URL.

    Args:
        kind: the last segment of the path.
        format: of the query; None for a kind that has only one.

    Returns:
        The export.

    Raises:
        InvalidParameter: the kind has no such format.
    """
    for export in EXPORTS.values():
        if (export.kind, export.format) == (kind, format):
            return export
    raise InvalidParameter(f"There is no {kind} in the format {format}.")


def media_types(kind: Kind) -> list[str]:
    """The media types of all exports of a kind."""
    return [export.media_type for export in EXPORTS.values() if export.kind == kind]
