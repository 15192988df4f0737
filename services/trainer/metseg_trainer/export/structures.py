"""A network of the core, joined with a model of the whole, as ONNX with its card."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from metseg.contracts import DataCard, FullPrecision, ModelCard, OperatingPoint, Structure, Variant
from metseg.imaging import Float32Array, Preprocessor, Volume
from metseg.inference import OnnxPredictor
from metseg.registry import FULL_PRECISION_MODEL, MODEL, read_card
from metseg_trainer.data import Patient, load_patient
from metseg_trainer.data.structures import PREPROCESSING, read_brisc_index, read_brisc_slice
from metseg_trainer.evaluation import (
    STUDIES_WHOLE,
    WHOLE_SET,
    EvaluationResult,
    StructureData,
    TorchPredictor,
    brisc_slices,
    evaluate_structures,
)
from metseg_trainer.export.composition import compose_structures, extract_whole
from metseg_trainer.export.model_card import CardFigures, make_card, save_card
from metseg_trainer.export.onnx_export import middle_slice, to_onnx, verify_export
from metseg_trainer.export.out_of_distribution import reference_from_patients
from metseg_trainer.export.quantise import to_int8
from metseg_trainer.export.structure_variants import (
    StructureVariant,
    dice_loss,
    evaluate_variant,
    keeps_dice,
    lowest_level,
    timed,
    variant_rows,
)
from metseg_trainer.export.variants import calibration_inputs
from metseg_trainer.networks import SegmentationNetwork

__all__ = ["ExportedStructures", "export_structures", "read_whole"]

BRISC_STRIDE = 40
"""Every n-th training slice of BRISC takes part in setting the ranges of integers."""
VERIFIED_SLICES = 8
MIRRORED_FROM = 0.5
"""The core's probability from which on a slice is predicted twice: false outlines are seldom found on both sides."""


@dataclass(frozen=True, eq=False)
class ExportedStructures:
    """A model as it is served, and its figures.

    Attributes:
        card: of the model.
        predictor: the model.
        results: by set of studies; see `evaluate_structures`.
        variants: what could have been served, as `variant_rows`.
    """

    card: ModelCard
    predictor: OnnxPredictor
    results: Mapping[str, EvaluationResult]
    variants: Sequence[Mapping[str, Any]]


def export_structures(
    network: SegmentationNetwork,
    whole: Path,
    folder: Path,
    *,
    data: StructureData,
    train: Sequence[Patient],
    described: DataCard,
) -> ExportedStructures:
    """Export a network of the core in 32 and in 8 bits, join it with a model of the whole, evaluate and write both.

    The lowest pruning level that loses little Dice is served; so is the 8-bit model, together with the 32-bit one,
    unless it loses too much Dice of a structure.

    Args:
        network: of the core, with one output.
        whole: the folder of a version whose model of the whole is taken: at half the resolution, or made by this
            function. Its operating point of the whole is kept if no validation study shows a whole.
        folder: for the files; exists.
        data: what it is evaluated on.
        train: glioma patients, and studies whose core is known, that it was trained on.
        described: what it was trained on, for the card.

    Returns:
        The served model with its figures.

    Raises:
        NotFound: `whole` holds no card.
        ModelRejected: the export does not compute what the network does, or see `read_whole`.
        DatasetError: a file of a patient has changed or gone.
    """
    levels = _pruning_levels(network, whole, data, described)
    source = lowest_level(levels)
    small = _in_8_bits(source, whole, data, train, described)
    served = small if keeps_dice(source, small) else source
    update: dict[str, Any] = {
        "variant": served.variant.model_copy(update={"dice_loss": dice_loss(levels[0], served)})
    }  # fmt: skip
    models = {MODEL: served.model}
    if served is small:
        models[FULL_PRECISION_MODEL] = source.model
        exact = source.predictor.card
        update["full_precision"] = FullPrecision(sha256=exact.sha256, operating_points=exact.operating_points)
    results = evaluate_structures(network.title, served.predictor, data)
    update |= _figures(network.title, results)
    post_slices = _axial_slices(data.brisc, "train"), _axial_slices(data.brisc, "validation")
    update["familiarity"] = reference_from_patients(
        train, [*data.validation, *data.validation_studies], PREPROCESSING, post_slices
    )
    card = served.predictor.card.model_copy(update=update)
    (folder / FULL_PRECISION_MODEL).unlink(missing_ok=True)
    for name, content in models.items():
        (folder / name).write_bytes(content)
    save_card(folder, card)
    rows = variant_rows(timed([*levels, small], data), served)
    return ExportedStructures(card, served.predictor, results, rows)


def _pruning_levels(
    network: SegmentationNetwork, whole: Path, data: StructureData, described: DataCard
) -> list[StructureVariant]:
    """The network at each pruning level in 32 bits, the whole network first."""
    levels, model = [], read_whole(whole, FULL_PRECISION_MODEL)
    for pruned, level in network.pruned_networks():
        core = to_onnx(pruned)
        _verify(core, pruned, described, [*data.test, *data.test_studies])
        joined = compose_structures(core, model)
        draft = _draft(pruned, joined, described, _first_points(whole), Variant(pruning_level=level))
        levels.append(evaluate_variant(pruned, core, draft, joined, data))
    return levels


def _in_8_bits(
    source: StructureVariant, whole: Path, data: StructureData, train: Sequence[Patient], described: DataCard
) -> StructureVariant:
    """A variant in 8-bit integers, whose ranges training patients set."""
    core = to_int8(source.core, [*calibration_inputs(train, PREPROCESSING), *_brisc_inputs(data.brisc)])
    joined = compose_structures(core, read_whole(whole, MODEL))
    variant = source.variant.model_copy(update={"precision": "int8"})
    draft = _draft(source.network, joined, described, _first_points(whole), variant)
    return evaluate_variant(source.network, core, draft, joined, data)


def _first_points(whole: Path) -> dict[Structure, OperatingPoint]:
    """The operating points before any were chosen."""
    return {
        "core": OperatingPoint(mirrored_from=MIRRORED_FROM), "whole": read_card(whole).operating_points["whole"],
    }  # fmt: skip


def read_whole(folder: Path, name: str = MODEL) -> bytes:
    """The model of the whole in a version.

    Args:
        folder: of the version.
        name: of the file; that of the served model is read where it does not exist.

    Returns:
        An ONNX model.

    Raises:
        NotFound: the folder holds no card.
        ModelRejected: its model has both structures and was not joined from two.
    """
    path = folder / name
    model = (path if path.exists() else folder / MODEL).read_bytes()
    return extract_whole(model) if "core" in read_card(folder).operating_points else model


def _draft(
    network: SegmentationNetwork,
    model: bytes,
    described: DataCard,
    points: Mapping[Structure, OperatingPoint],
    variant: Variant,
) -> ModelCard:
    """The card of an exported network before anything was measured."""
    created_at = datetime.now(UTC)
    card = make_card(
        version=f"{created_at:%Y%m%d-%H%M%S}-{network.name}-core",
        created_at=created_at,
        network=network,
        model=model,
        preprocessing=PREPROCESSING,
        points=points,
        data=described,
        figures=CardFigures(),
    )
    return card.model_copy(update={"variant": variant})


def _verify(model: bytes, network: SegmentationNetwork, described: DataCard, patients: Sequence[Patient]) -> None:
    """Compare an exported network with the original on the middle slices of some patients."""
    points: dict[Structure, OperatingPoint] = {"whole": OperatingPoint()}  # a card of one map needs that name
    card = _draft(network, model, described, points, Variant())
    exported, trained = OnnxPredictor(card, model, torch.get_num_threads()), TorchPredictor(network, PREPROCESSING)
    preprocessor = Preprocessor(PREPROCESSING)
    volumes = (load_patient(patient)[0] for patient in islice(patients, VERIFIED_SLICES))
    verify_export(exported, trained, [middle_slice(preprocessor.prepare(volume)) for volume in volumes])


def _brisc_inputs(folder: Path | None) -> Iterator[Float32Array]:
    """Model inputs of post-contrast T1 alone."""
    if folder is None:
        return
    for row in read_brisc_index(folder, "train")[::BRISC_STRIDE]:
        volume, _ = read_brisc_slice(folder, row.name)
        yield middle_slice(Preprocessor(PREPROCESSING).prepare(volume))


def _axial_slices(folder: Path | None, side: str) -> Iterator[Volume]:
    return (one.volume for one in brisc_slices(folder, side)) if folder else iter(())


def _figures(title: str, results: Mapping[str, EvaluationResult]) -> dict[str, Any]:
    """The fields of a card that hold figures: first those of the whole, if that is known of test patients."""
    first = next((name for name in (WHOLE_SET, STUDIES_WHOLE) if name in results), None)
    further = {"further_evaluation": {name: result.card() for name, result in results.items() if name != first}}
    if first is None:
        return further
    return {"figures": {title: results[first].summary}, "evaluation": {title: results[first].card()}, **further}
