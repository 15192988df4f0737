"""The report: pictures of the largest lesions, measurements, model and warnings on one page of A4, without scripts."""

import base64
from collections.abc import Sequence
from io import BytesIO
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from metseg.contracts import ModelCard, Result, Structure
from metseg.formats import StoredSlices
from metseg.imaging import Mask, UInt8Array
from metseg.results.exports.contours import render_contours
from metseg.results.exports.finished_job import FinishedJob

__all__ = ["embed_picture", "render_page", "render_report"]

MAX_PICTURES = 3
MAX_ROWS = 10
MAX_WARNINGS = 6
SIDE_PX = 480
QUALITY = 88


class Picture(NamedTuple):
    """A slice on the page."""

    source: str
    slice_number: int
    name: str
    lesions: list[int]


def render_report(job: FinishedJob, target: BinaryIO) -> None:
    """Write the report as one HTML file in UTF-8 that embeds its pictures and loads nothing else.

    It fits on one page: of many lesions it lists the largest, and says how many more there are.

    Args:
        job: a finished job.
        target: where the page is written.
    """
    result, card = job.result(), job.model_card()
    text = render_page(
        "report_page.html.j2",
        result=result,
        card=card,
        finished_at=job.finished_at(),
        metric=result.spacing_mm is not None,
        headline=_headline(result),
        rows=result.lesions[:MAX_ROWS],
        more=len(result.lesions) - MAX_ROWS,
        pictures=_pictures(job, result),
        tested=_tested(card, result.structure) if card is not None else [],
        warnings=result.warnings[:MAX_WARNINGS],
        more_warnings=len(result.warnings) - MAX_WARNINGS,
        known=_known(result),
    )
    target.write(text.encode())


def render_page(template: str, **fields: object) -> str:
    """A page to print, without scripts.

    Args:
        template: its name in this package.
        fields: what the template shows.

    Returns:
        HTML that loads nothing else.
    """
    environment = Environment(
        loader=PackageLoader("metseg.results.exports", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**fields)


def embed_picture(picture: UInt8Array) -> str:
    """A picture as a URL that holds it.

    Args:
        picture: RGB, uint8, (row, column, 3).

    Returns:
        A data URL of a WebP.
    """
    target = BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(target, "WEBP", quality=QUALITY)
    return f"data:image/webp;base64,{base64.b64encode(target.getvalue()).decode()}"


def _headline(result: Result) -> list[tuple[str, str]]:
    """The most important measurements, each with its name."""
    lesions = result.lesions
    figures = [(result.findings, str(len(lesions)))]
    if result.spacing_mm is not None:
        volume_ml = sum(lesion.volume_mm3 or 0 for lesion in lesions) / 1000
        longest = max((lesion.long_diameter_mm or 0 for lesion in lesions), default=0)
        figures += [("ml in all", f"{volume_ml:.2f}"), ("mm, longest diameter", f"{longest:.1f}")]
    else:
        longest = max((lesion.long_diameter_px for lesion in lesions), default=0)
        figures += [("voxels in all", f"{sum(lesion.voxels for lesion in lesions):,}")]
        figures += [("px, longest diameter", f"{longest:.1f}")]
    figures += _target_sum(result)
    touched = sum(bool(each.lesions) for each in result.slices)
    return [*figures, (f"slices with {result.findings}", f"{touched} of {len(result.slices)}")]


def _target_sum(result: Result) -> list[tuple[str, str]]:
    """The sum that RANO-BM follows, in millimetres if the spacing is known."""
    if result.target_diameter_sum_mm is not None:
        return [("mm, sum of target diameters", f"{result.target_diameter_sum_mm:.1f}")]
    if result.target_diameter_sum_px is not None:
        return [("px, sum of target diameters", f"{result.target_diameter_sum_px:.1f}")]
    return []


def _known(result: Result) -> list[tuple[str, str]]:
    """In words, how unlike the training data the scan is and how uncertain the model is, if the result says so."""
    known = [("Like the training?", result.familiarity.words)] if result.familiarity is not None else []
    return known + ([("How sure?", result.uncertainty_words)] if result.uncertainty_words else [])


def _pictures(job: FinishedJob, result: Result) -> list[Picture]:
    """The slices with the largest areas of the largest lesions, each once; empty if there is no lesion."""
    indices = list(dict.fromkeys(lesion.largest_slice for lesion in result.lesions))[:MAX_PICTURES]
    if not indices:
        return []
    with job.open_artefact("mask.nii.gz") as stored:
        mask = StoredSlices(stored)
        marked = {index: mask.read(index) > 0 for index in sorted(indices)}
    return [_picture(job, result, index, marked[index]) for index in indices]


def _picture(job: FinishedJob, result: Result, index: int, mask: Mask) -> Picture:
    source = embed_picture(render_contours(job, index, mask, SIDE_PX))
    figures = result.slices[index]
    return Picture(source, index + 1, figures.name, figures.lesions)


def _tested(card: ModelCard, structure: Structure) -> Sequence[tuple[str, Any]]:
    """The test results of the model on the structure that the lesions are of, each with its name."""
    evaluations = card.evaluations_of(structure)
    if not evaluations:
        summary = card.figures.get(card.network)
        return [("Dice by patient", f"{summary.mean:.3f} ({summary.patients} test patients)")] if summary else []
    [(tested_on, evaluation), *_] = evaluations.items()
    dice = evaluation.measures["dice"]
    interval = f"{dice.mean_interval.low:.3f} to {dice.mean_interval.high:.3f}"
    found = [
        f"{round(detection.sensitivity * detection.lesions)} of {detection.lesions} ({size})"
        for size, detection in evaluation.lesions.by_diameter.items()
    ]
    return [
        *([("Tested on", tested_on)] if tested_on else []),
        ("Dice by patient", f"{dice.mean:.3f} (95% interval {interval}; {dice.patients} test patients)"),
        ("Lesions found", ", ".join(found)),
        ("False lesions per patient", f"{evaluation.lesions.false_positives.mean:.1f}"),
    ]
