"""Evaluation by structure: Dice of core and whole, drawn metastases by diameter, and the table of them."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from metseg.imaging import CONNECTIVITY_26, Float32Array, Float64Array, Mask, Preprocessor
from metseg_trainer.evaluation.masks import dice
from metseg_trainer.evaluation.structure_cases import StructureCase
from metseg_trainer.networks import SegmentationNetwork, channels_last, structure_probabilities
from metseg_trainer.training import amp_dtype

__all__ = ["evaluate_structures", "format_structures", "predict_structures"]

THRESHOLD = 0.5
STRATA_MM = ((3.0, 6.0), (6.0, 10.0), (10.0, float("inf")))
LOW, HIGH, MIN_MM3 = (0.2, 0.3, 0.4, 0.5), (0.5, 0.7, 0.8, 0.9, 0.95), (0.0, 5.0, 15.0)
"""The operating points among which the best lesion-wise F1 is chosen."""
BATCH_SIZE = 4

Figures = dict[str, Any]


def evaluate_structures(network: SegmentationNetwork, sets: dict[str, Iterable[StructureCase]]) -> Figures:
    """Evaluate a network on sets of cases.

    Args:
        network: with two outputs.
        sets: cases by the name of their set.

    Returns:
        For each set that has cases: their number, the mean Dice of each known structure at threshold 0.5, and, with
        drawn lesions, `drawn`: the operating point with the best lesion-wise F1 and its figures.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = channels_last(network.eval().to(device))
    figures = {name: _evaluate_set(network, cases) for name, cases in sets.items()}
    return {name: found for name, found in figures.items() if found["cases"]}


@torch.inference_mode()
def predict_structures(network: SegmentationNetwork, case: StructureCase) -> Float32Array:
    """Probabilities of a case.

    Args:
        network: with two outputs, in evaluation mode.
        case: a study.

    Returns:
        float32, (structure, slice, row, column) on the study's grid, core first.
    """
    model_input = case.model_input
    device = next(network.parameters()).device
    dtype = amp_dtype(device)
    maps = np.zeros((2, *model_input.pixels.shape[:3]), np.float32)
    occupied = np.flatnonzero(model_input.occupied).tolist()
    for begin in range(0, len(occupied), BATCH_SIZE):
        chosen = occupied[begin : begin + BATCH_SIZE]
        tensor = model_input.tensor(chosen)
        slices = torch.from_numpy(np.ascontiguousarray(tensor.transpose(0, 3, 1, 2), np.float32))
        with torch.autocast(device.type, dtype, enabled=dtype is not None):
            logits = network(slices.to(device, memory_format=torch.channels_last))
        maps[:, chosen] = structure_probabilities(logits.float()).cpu().numpy().transpose(1, 0, 2, 3)
    return np.stack([Preprocessor.restore(structure, model_input.geometry) for structure in maps])


def _evaluate_set(network: SegmentationNetwork, cases: Iterable[StructureCase]) -> Figures:
    core_dice, whole_dice, studies, count = [], [], [], 0
    for case in cases:
        count += 1
        core, whole = predict_structures(network, case)
        if case.core is not None:
            known = np.ones_like(core, np.bool_) if case.unknown is None else ~case.unknown
            core_dice.append(dice((core >= THRESHOLD) & known, (case.core > 0) & known))
        if case.whole is not None:
            whole_dice.append(dice(whole >= THRESHOLD, case.whole))
        if case.diameters_mm:
            studies.append({low: _Components.of(case, core, low) for low in LOW})
    figures: Figures = {"cases": count}
    figures |= {"core": float(np.mean(core_dice))} if core_dice else {}
    figures |= {"whole": float(np.mean(whole_dice))} if whole_dice else {}
    return figures | ({"drawn": _best_operating_point(studies)} if studies else {})


@dataclass(frozen=True, eq=False)
class _Components:
    """The components of a study above a low threshold, numbered from 0.

    Attributes:
        peaks: the highest probability of each.
        volumes_mm3: of each.
        excused: whether each touches a true lesion or unknown truth.
        of_lesion: the components that touch each true lesion.
        diameters_mm: of the true lesions.
    """

    peaks: Float64Array
    volumes_mm3: Float64Array
    excused: Mask
    of_lesion: tuple[npt.NDArray[np.intp], ...]
    diameters_mm: tuple[float, ...]

    @classmethod
    def of(cls, case: StructureCase, probability: Float32Array, low: float) -> "_Components":
        labels, count = ndimage.label(probability >= low, CONNECTIVITY_26)
        lesions = np.zeros(labels.shape, np.int32) if case.core is None else case.core
        ignored = lesions > 0 if case.unknown is None else (lesions > 0) | case.unknown
        excused = np.zeros(count + 1, np.bool_)
        excused[np.unique(labels[ignored])] = True
        touching = (np.unique(labels[lesions == number]) for number in range(1, len(case.diameters_mm) + 1))
        numbers = np.arange(1, count + 1)
        return cls(
            np.asarray(ndimage.maximum(probability, labels, numbers), np.float64) if count else np.zeros(0),
            np.asarray(np.bincount(labels.ravel(), minlength=count + 1)[1:] * np.prod(case.spacing_mm), np.float64),
            excused[1:],
            tuple(found[found > 0] - 1 for found in touching),
            case.diameters_mm,
        )


def _best_operating_point(studies: Sequence[dict[float, _Components]]) -> Figures:
    """Hysteresis thresholds and the smallest volume with the best lesion-wise F1, and the figures there."""
    points = itertools.product(LOW, HIGH, MIN_MM3)
    return max((_lesionwise(studies, *point) for point in points), key=lambda figures: float(figures["f1"]))


def _lesionwise(studies: Sequence[dict[float, _Components]], low: float, high: float, min_mm3: float) -> Figures:
    """F1, false positives per study and sensitivity by diameter."""
    hits: list[tuple[float, bool]] = []
    false = 0
    for study in (by_threshold[low] for by_threshold in studies):
        kept = (study.peaks >= high) & (study.volumes_mm3 >= min_mm3)
        found = [bool(kept[components].any()) for components in study.of_lesion]
        hits += zip(study.diameters_mm, found, strict=True)
        false += int((kept & ~study.excused).sum())
    detected = sum(found for _, found in hits)
    strata = [[found for size, found in hits if first <= size < last] for first, last in STRATA_MM]
    return {
        "low": low,
        "high": high,
        "min_mm3": min_mm3,
        "f1": 2 * detected / max(1, len(hits) + detected + false),
        "false_per_study": false / len(studies),
        "found": {
            f"{first:g} to {last:g} mm" if np.isfinite(last) else f"from {first:g} mm": float(np.mean(stratum))
            for (first, last), stratum in zip(STRATA_MM, strata, strict=True)
            if stratum
        },
    }


def format_structures(figures: Figures) -> str:
    """The table by structure, and a line for the drawn metastases."""
    lines = [f"{'cases':24}{'':>8}{'core':>8}{'whole':>8}"]
    for name, one in figures.items():
        core, whole = (f"{one[part]:.3f}" if part in one else "-" for part in ("core", "whole"))
        lines.append(f"{name:24}{one['cases']:>8}{core:>8}{whole:>8}")
        if drawn := one.get("drawn"):
            found = ", ".join(f"{stratum} {share:.2f}" for stratum, share in drawn["found"].items())
            lines.append(
                f"  found: {found}; false positives per study {drawn['false_per_study']:.2f}; F1 {drawn['f1']:.3f} at "
                f"thresholds {drawn['low']:g} and {drawn['high']:g}, from {drawn['min_mm3']:g} mm3"
            )
    return "\n".join(lines)
