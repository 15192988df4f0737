"""Examples: the slices of test patients that a report shows."""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np

from metseg.imaging import FLAIR, Mask, UInt8Array, rendering
from metseg.inference import segment
from metseg_trainer.data import Patient, load_patient
from metseg_trainer.evaluation import EvaluationResult, RunEvaluation
from metseg_trainer.training import Plan

__all__ = ["Example", "example_panels", "pick_examples"]

Label = Literal["best", "median", "worst"]

OUTLINE_STEPS = 4
VIEW_MARGIN_PX = 8


@dataclass(frozen=True, eq=False)
class Example:
    """One slice of a test patient.

    Attributes:
        patient: id.
        label: rank of the patient by the winning network's Dice.
        picture: uint8 for display, (row, column, channel).
        truth: (row, column).
        predictions: by network, (row, column).
    """

    patient: str
    label: Label
    picture: UInt8Array
    truth: Mask
    predictions: Mapping[str, Mask]


def pick_examples(plan: Plan, evaluation: RunEvaluation) -> list[Example]:
    """The slice with the largest lesion of the winner's best, median and worst patients.

    Args:
        plan: of the run.
        evaluation: of its networks.

    Returns:
        Up to three examples, best first.
    """
    scores = evaluation.results[evaluation.winner].dice
    order = sorted(scores, key=lambda patient: -scores[patient])
    labels: dict[str, Label] = {order[-1]: "worst", order[len(order) // 2]: "median", order[0]: "best"}
    examples = [
        _example(patient, labels[patient.id], evaluation) for patient in plan.test_patients if patient.id in labels
    ]
    return sorted(examples, key=lambda example: -scores[example.patient])


def example_panels(
    example: Example, titles: Mapping[str, str], results: Mapping[str, EvaluationResult], styles: Mapping[str, str]
) -> dict[str, Any]:
    """The values for an example in the template: the picture once, with outlines over it.

    Args:
        example: to draw.
        titles: by network.
        results: by network.
        styles: CSS class by network.

    Returns:
        Values by the names in the template.
    """
    picture, truth = np.ascontiguousarray(example.picture[..., FLAIR]), example.truth
    return {
        "patient": example.patient,
        "label": example.label,
        "rows": truth.shape[0],
        "columns": truth.shape[1],
        "view": _view_box(picture),
        "picture": _png_uri(picture),
        "truth": _outline_path(truth),
        "truth_px": int(truth.sum()),
        "networks": [
            {
                "title": titles[name],
                "style": styles[name],
                "dice": results[name].dice[example.patient],
                "outline": _outline_path(mask),
                "hit_px": int((mask & truth).sum()),
                "missed_px": int((truth & ~mask).sum()),
                "added_px": int((mask & ~truth).sum()),
            }
            for name, mask in example.predictions.items()
        ],
    }


def _example(patient: Patient, label: Label, evaluation: RunEvaluation) -> Example:
    volume, truth = load_patient(patient)
    index = int(truth.sum(axis=(1, 2)).argmax())
    masks = {name: segment(volume, one).mask[index] for name, one in evaluation.predictors.items()}
    return Example(patient.id, label, rendering.window_volume(volume)[index], truth[index], masks)


def _outline_path(mask: Mask) -> str:
    """An SVG path along the edges of the mask's pixels, in pixels; holes by the rule `evenodd`."""
    fine = mask.astype(np.uint8).repeat(OUTLINE_STEPS, axis=0).repeat(OUTLINE_STEPS, axis=1)
    contours, _ = cv2.findContours(fine, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    loops = [((contour[:, 0] + 0.5) / OUTLINE_STEPS).tolist() for contour in contours]
    return " ".join("M" + "L".join(f"{x:.3g} {y:.3g}" for x, y in loop) + "Z" for loop in loops)


def _view_box(picture: UInt8Array) -> tuple[int, int, int, int]:
    """The square around the foreground, as an SVG view box: left, top, width, height."""
    lit = np.argwhere(picture > picture.max() // 10)
    top, left = lit.min(axis=0).tolist()
    bottom, right = (lit.max(axis=0) + 1).tolist()
    side = max(bottom - top, right - left) + VIEW_MARGIN_PX
    return (left + right - side) // 2, (top + bottom - side) // 2, side, side


def _png_uri(picture: UInt8Array) -> str:
    """A grey picture (row, column) as a data URI, so that the page needs no other file."""
    _, encoded = cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    return "data:image/png;base64," + b64encode(encoded.tobytes()).decode()
