"""What `--formats` may name: the file that it becomes, and where a server has it."""

from typing import NamedTuple

from metseg.cli.exits import Usage

__all__ = ["DEFAULT", "OUTPUTS", "Output", "chosen"]


class Output(NamedTuple):
    """One file of a result.

    Attributes:
        name: as `--formats` has it.
        file: its name in the study's folder.
        artefact: the end of its address.
        format: that the address asks for.
    """

    name: str
    file: str
    artefact: str
    format: str | None = None

    @property
    def query(self) -> dict[str, str]:
        """Of the address."""
        return {} if self.format is None else {"format": self.format}


OUTPUTS = {
    output.name: output
    for output in (
        Output("nifti", "mask.nii.gz", "mask"),
        Output("zip", "masks.zip", "mask", "zip"),
        Output("png", "mask.png", "mask", "png"),
        Output("tiff", "mask.tiff", "mask", "tiff"),
        Output("dicom-seg", "segmentation.dcm", "mask", "dicom-seg"),
        Output("structured-report", "report.dcm", "structured-report"),
        Output("probability", "probability.nii.gz", "probability"),
        Output("probability-tiff", "probability.tiff", "probability", "tiff"),
        Output("probability-zip", "probabilities.zip", "probability", "zip"),
        Output("uncertainty", "uncertainty.nii.gz", "uncertainty"),
        Output("overlays", "overlays.zip", "overlays"),
        Output("csv", "lesions.csv", "lesions"),
        Output("json", "lesions.json", "lesions", "json"),
        Output("report", "report.html", "report"),
        Output("animation", "animation.webp", "animation"),
    )
}
DEFAULT = "nifti,probability,csv,report"


def chosen(text: str) -> dict[str, Output]:
    """The outputs that a list with commas names.

    Raises:
        Usage: there is no such output.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in OUTPUTS]
    if unknown or not names:
        wrong = f"There is no format {unknown[0]}" if unknown else "No format was named"
        raise Usage(f"{wrong}; --formats takes some of {', '.join(OUTPUTS)}.")
    return {name: OUTPUTS[name] for name in names}
