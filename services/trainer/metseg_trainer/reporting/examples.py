"""Examples: the slices of test patients that a report shows."""

from base64 import b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np

from metseg.imaging import CHANNELS, FLAIR, POST, Mask, UInt8Array, Volume, rendering
from metseg.inference import Predictor, segment
from metseg_trainer.data import Patient, load_patient
from metseg_trainer.evaluation import EvaluationPatient, RunEvaluation
from metseg_trainer.training import Plan

__all__ = ["Example", "example_panels", "pick_examples", "pick_structure_examples"]

Label = Literal["best", "median", "worst"]

OUTLINE_STEPS = 4
VIEW_MARGIN_PX = 8


@dataclass(frozen=True, eq=False)
class Example:
    """One slice of a test patient.

    Attributes:
        patient: id.
        label: rank of the patient by the winning network's Dice.
        picture: uint8 for display, (row, column).
        channel: the name of the sequence that it shows.
        truth: (row, column).
        predictions: by network, (row, column).
    """

    patient: str
    label: Label
    picture: UInt8Array
    channel: str
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
    labels = _ranked(scores)
    examples = [
        _example(patient, labels[patient.id], evaluation) for patient in plan.test_patients if patient.id in labels
    ]
    return sorted(examples, key=lambda example: -scores[example.patient])


def example_panels(
    example: Example, titles: Mapping[str, str], dice: Mapping[str, Mapping[str, float]], styles: Mapping[str, str]
) -> dict[str, Any]:
    """The values for an example in the template: the picture once, with outlines over it.

    Args:
        example: to draw.
        titles: by network.
        dice: of patients, by network.
        styles: CSS class by network.

    Returns:
        Values by the names in the template.
    """
    picture, truth = example.picture, example.truth
    return {
        "patient": example.patient,
        "label": example.label,
        "channel": example.channel,
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
                "dice": dice[name][example.patient],
                "outline": _outline_path(mask),
                "hit_px": int((mask & truth).sum()),
                "missed_px": int((truth & ~mask).sum()),
                "added_px": int((mask & ~truth).sum()),
            }
            for name, mask in example.predictions.items()
        ],
    }


def pick_structure_examples(
    network: str, predictor: Predictor, studies: Iterable[EvaluationPatient], dice: Mapping[str, float]
) -> list[Example]:
    """The slice with the largest lesion of a network's best, median and worst studies.

    Args:
        network: its name.
        predictor: the network as it is served.
        studies: with the truth of one structure.
        dice: of each study.

    Returns:
        Up to three examples, best first.
    """
    labels, examples = _ranked(dice), []
    for study in studies:
        if study.id in labels:
            index = int(study.truth.sum(axis=(1, 2)).argmax())
            mask = segment(study.volume, predictor).structures[study.structure].mask[index]
            shown = POST if study.structure == "core" else FLAIR
            picture = _picture(study.volume, index, shown)
            truth = study.truth[index]
            examples.append(Example(study.id, labels[study.id], picture, CHANNELS[shown], truth, {network: mask}))
    return sorted(examples, key=lambda example: -dice[example.patient])


def _ranked(scores: Mapping[str, float]) -> dict[str, Label]:
    """The worst, the median and the best patient."""
    order = sorted(scores, key=lambda patient: -scores[patient])
    return {order[-1]: "worst", order[len(order) // 2]: "median", order[0]: "best"}


def _example(patient: Patient, label: Label, evaluation: RunEvaluation) -> Example:
    volume, truth = load_patient(patient)
    index = int(truth.sum(axis=(1, 2)).argmax())
    masks = {name: segment(volume, one).mask[index] for name, one in evaluation.predictors.items()}
    return Example(patient.id, label, _picture(volume, index, FLAIR), CHANNELS[FLAIR], truth[index], masks)


def _picture(volume: Volume, index: int, channel: int) -> UInt8Array:
    return np.ascontiguousarray(rendering.window_volume(volume)[index][..., channel])


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
