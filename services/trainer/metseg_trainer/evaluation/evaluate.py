"""Evaluate a model by patient, through the pipeline that serves."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from metseg.contracts import OperatingPoint, Structure
from metseg.imaging import Mask, Volume
from metseg.inference import Predictor, StructureMap, segment
from metseg_trainer.evaluation.brats_mets import brats_mets
from metseg_trainer.evaluation.candidates import LesionCase, Peaks
from metseg_trainer.evaluation.corruptions import CORRUPTIONS, SINGLE_SLICES, Corruption
from metseg_trainer.evaluation.lesionwise import label_components, match_lesions
from metseg_trainer.evaluation.masks import compare_masks, dice
from metseg_trainer.evaluation.patients import EvaluationPatient
from metseg_trainer.evaluation.result import EvaluationResult, PatientResult

__all__ = ["evaluate_model"]


def evaluate_model(
    network: str,
    predictor: Predictor,
    patients: Iterable[EvaluationPatient],
    corruptions: Mapping[str, Corruption] = CORRUPTIONS,
) -> EvaluationResult:
    """Compute all figures of a model on one structure.

    Args:
        network: the model's name, for the record.
        predictor: the model.
        patients: unseen by the model, each with the truth of a structure that the model can segment in it.
        corruptions: after which each patient's scans are evaluated too, in addition to each slice alone; without
            any, single slices are skipped too.

    Returns:
        Metrics by patient.
    """
    result = EvaluationResult(network)
    lesion_voxels = {}
    for patient in patients:
        known = np.ones(patient.truth.shape, np.bool_) if patient.unknown is None else ~patient.unknown
        predicted = segment(patient.volume, predictor).structures[patient.structure]
        result.reliability.add(np.asarray(predicted.probability)[known], patient.truth[known])
        point = predictor.operating_points[patient.structure]
        result.patients[patient.id] = _patient_result(patient, predicted, point, known)
        lesion_voxels[patient.id] = int(patient.truth.sum())
        if corruptions:
            single = _segment_single_slices(patient.volume, predictor, patient.structure)
            result.corrupted.setdefault(SINGLE_SLICES, {})[patient.id] = dice(single & known, patient.truth & known)
        for key, corruption in corruptions.items():
            if (score := _corrupted_dice(patient, predictor, corruption, known)) is not None:
                result.corrupted.setdefault(key, {})[patient.id] = score
    _group_by_volume(result, lesion_voxels)
    return result


def _corrupted_dice(
    patient: EvaluationPatient, predictor: Predictor, corruption: Corruption, known: Mask
) -> float | None:
    """Dice after a corruption; None if it takes away the sequence that shows the structure."""
    volume, truth = corruption.apply(patient.volume, patient.truth)
    found = segment(volume, predictor).structures.get(patient.structure)
    if found is None:
        return None
    if not known.all():
        known = ~corruption.apply(patient.volume, ~known)[1]
        return dice(found.mask & known, truth & known)
    return dice(found.mask, truth)


def _patient_result(
    patient: EvaluationPatient, predicted: StructureMap, point: OperatingPoint, known: Mask
) -> PatientResult:
    labels = label_components(patient.truth) if patient.labels is None else patient.labels
    probability = np.asarray(predicted.probability, np.float32)
    case = LesionCase(probability, labels, patient.unknown, math.prod(patient.spacing_mm))
    lesions = match_lesions(
        predicted.mask,
        labels,
        patient.spacing_mm,
        diameters_mm=patient.diameters_mm,
        vessels=patient.vessels,
        unknown=patient.unknown,
    )
    groups = {"site": patient.site, "missing sequences": " and ".join(patient.missing_sequences) or "none"}
    return PatientResult(
        compare_masks(predicted.mask & known, patient.truth & known, patient.spacing_mm),
        lesions,
        brats_mets(predicted.mask, labels, patient.spacing_mm, patient.unknown),
        Peaks.of(case, point),
        groups,
    )


def _group_by_volume(result: EvaluationResult, lesion_voxels: Mapping[str, int]) -> None:
    """Add each patient's third by lesion volume to its groups."""
    order = sorted(lesion_voxels, key=lambda id: (lesion_voxels[id], id))
    for rank, id in enumerate(order):
        third = ("smallest third", "middle third", "largest third")[rank * 3 // len(order)]
        old = result.patients[id]
        result.patients[id] = replace(old, groups={**old.groups, "lesion volume": third})


def _segment_single_slices(volume: Volume, predictor: Predictor, structure: Structure) -> Mask:
    """The mask of a study whose slices are each submitted alone; empty for a constant slice, which is refused."""
    mask = np.zeros(volume.shape, np.bool_)
    for index, single in enumerate(volume.single_slices()):
        if single is not None:
            mask[index] = segment(single, predictor).structures[structure].mask[0]
    return mask
