"""Variants of a network of the core that need no training, joined with a model of the whole: pruned, and in 8 bits.

All are compared on validation studies. A lower pruning level is always faster, so the lowest one that loses little Dice
is served; it is served in 8 bits if these lose little as well (a worker times both precisions on its own processor).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any

import torch

from metseg.contracts import ModelCard, Variant
from metseg.inference import OnnxPredictor
from metseg_trainer.data import load_patient
from metseg_trainer.evaluation import (
    EvaluationPatient,
    StructureData,
    brisc_slices,
    choose_structure_points,
    drawn_patients,
    evaluate_model,
    load_patients,
    volume_patients,
)
from metseg_trainer.export.timing import time_in_turns
from metseg_trainer.networks import SegmentationNetwork

__all__ = [
    "StructureVariant",
    "dice_loss",
    "evaluate_variant",
    "format_variants",
    "keeps_dice",
    "lowest_level",
    "timed",
    "variant_rows",
]

DRAWN = "drawn metastases"
MAX_DICE_LOSS = 0.005
"""Of the mean Dice of a structure, by a variant that is served."""
MAX_DRAWN_LOSS = 0.02
"""Of metastases that are drawn into a few validation patients, by a pruned network; smaller differences are chance."""
COMPARED_SLICES = 200
TIMED_STUDIES = 8


@dataclass(frozen=True, eq=False)
class StructureVariant:
    """A model of core and whole that could be served.

    Attributes:
        network: of the core, as pruned; a model in 8 bits was made from it.
        core: the ONNX file of the network alone.
        predictor: the model at its operating points; its card names the variant.
        model: the bytes of the ONNX file.
        dice: mean Dice on validation studies: by structure, and of the core on drawn metastases.
        ms_per_slice: of the middle slices of validation studies.
    """

    network: SegmentationNetwork
    core: bytes
    predictor: OnnxPredictor
    model: bytes
    dice: Mapping[str, float]
    ms_per_slice: float = 0.0

    @property
    def variant(self) -> Variant:
        """Pruning level and precision."""
        return self.predictor.card.variant


def evaluate_variant(
    network: SegmentationNetwork, core: bytes, draft: ModelCard, model: bytes, data: StructureData
) -> StructureVariant:
    """Choose a variant's operating points on the validation studies, and evaluate it on them.

    Args:
        network: of the core, as pruned.
        core: the ONNX file of the network alone.
        draft: the variant's card, with any operating points.
        model: the ONNX file of core and whole.
        data: with the validation studies.

    Returns:
        The variant.

    Raises:
        DatasetError: a file of a patient has changed or gone.
    """
    threads = torch.get_num_threads()
    points = choose_structure_points(OnnxPredictor(draft, model, threads), data.validation, data.validation_studies)
    predictor = OnnxPredictor(draft.model_copy(update={"operating_points": points}), model, threads)
    results = {name: evaluate_model("", predictor, one, {}) for name, one in _validation_sets(data).items()}
    dice = {name: result.summary.mean for name, result in results.items() if result.patients}
    return StructureVariant(network, core, predictor, model, dice)


def _validation_sets(data: StructureData) -> dict[str, Iterator[EvaluationPatient]]:
    """Studies by structure where it is known: of the core, slices of BRISC's training side, and drawn metastases.

    Drawn metastases of a few validation patients do not show small differences, and the validation side of BRISC
    chooses nothing. That the core was trained on these slices matters little where variants of one network are
    compared. Without BRISC, the core is compared on the validation studies.
    """
    studies = data.validation_studies
    slices = islice(brisc_slices(data.brisc, "train"), COMPARED_SLICES) if data.brisc else None
    return {
        "core": slices or volume_patients(studies, "core"),
        DRAWN: drawn_patients(data.validation),
        "whole": chain(load_patients(data.validation), volume_patients(studies, "whole")),
    }


def keeps_dice(source: StructureVariant, other: StructureVariant) -> bool:
    """Whether a variant loses little Dice of each structure.

    Args:
        source: that the other one was made from.
        other: the variant.

    Returns:
        True if it may be served in the place of `source`.
    """
    return dice_loss(source, other) <= MAX_DICE_LOSS


def dice_loss(source: StructureVariant, other: StructureVariant) -> float:
    """By how much a variant's mean Dice of a structure is lower than another one's; the larger loss of two structures.

    Args:
        source: the better one.
        other: the variant.

    Returns:
        The loss; below 0 where there is none.
    """
    return max(source.dice[name] - mean for name, mean in other.dice.items() if name != DRAWN)


def lowest_level(levels: Sequence[StructureVariant]) -> StructureVariant:
    """The lowest pruning level that keeps the Dice of the whole network, also on drawn metastases.

    Args:
        levels: the whole network first.

    Returns:
        One of them.
    """
    full = levels[0]
    kept = [
        level
        for level in levels
        if keeps_dice(full, level) and full.dice.get(DRAWN, 0.0) - level.dice.get(DRAWN, 0.0) <= MAX_DRAWN_LOSS
    ]
    return kept[-1]


def timed(variants: Sequence[StructureVariant], data: StructureData) -> list[StructureVariant]:
    """The variants with their times.

    Args:
        variants: to be timed in turn.
        data: whose validation studies are predicted.

    Returns:
        The variants in their order.
    """
    patients = islice(chain(data.validation, data.validation_studies), TIMED_STUDIES)
    times = time_in_turns([one.predictor for one in variants], [load_patient(patient)[0] for patient in patients])
    return [replace(one, ms_per_slice=ms) for one, ms in zip(variants, times, strict=True)]


def variant_rows(variants: Sequence[StructureVariant], served: StructureVariant) -> list[dict[str, Any]]:
    """The variants as plain values, without names of studies.

    Args:
        variants: timed.
        served: which of them is served.

    Returns:
        A row of each.
    """
    return [
        {
            "pruning_level": one.variant.pruning_level,
            "precision": one.variant.precision,
            "parameters": one.network.parameter_count,
            "ms_a_slice": one.ms_per_slice,
            "dice": dict(one.dice),
            "served": one.predictor is served.predictor,
        }
        for one in variants
    ]


def format_variants(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows of `variant_rows` for a terminal; `*` is served."""
    lines = [f"  {'variant':18}{'ms':>8}  mean Dice on validation studies"]
    for row in rows:
        level = f"level {row['pruning_level']}, " if row["pruning_level"] else ""
        dice = ", ".join(f"{name} {mean:.3f}" for name, mean in row["dice"].items())
        mark = "*" if row["served"] else " "
        lines.append(f"{mark} {level + row['precision']:18}{row['ms_a_slice']:8.1f}  {dice}")
    return "\n".join(lines)
