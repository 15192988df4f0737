"""The performance of a model by patient and by lesion, its uncertainty, and the effect of corrupted scans.

- `masks`, `lesionwise`, `calibration`: metrics of one patient, or of one model's probabilities.
- `statistics`: intervals over patients, and networks compared.
- `patients`, `corruptions`: the data that models are evaluated on.
- `structure_cases`, `structures`: networks with two structures, core and whole.
- `evaluate`, `result`: one model; `evaluate_run`: all networks of a run, at their `operating_point`.
"""

from metseg_trainer.evaluation.corruptions import CORRUPTIONS
from metseg_trainer.evaluation.evaluate import evaluate_model
from metseg_trainer.evaluation.evaluate_run import RunEvaluation, evaluate_networks, load_predictor, merge_evaluations
from metseg_trainer.evaluation.masks import EMPTY_CONVENTION, dice
from metseg_trainer.evaluation.operating_point import choose_operating_point
from metseg_trainer.evaluation.patients import EvaluationPatient, implanted_patients, load_patients
from metseg_trainer.evaluation.result import EvaluationResult
from metseg_trainer.evaluation.statistics import compare_networks, confidence_interval, highest_mean, measure
from metseg_trainer.evaluation.structure_cases import (
    StructureCase,
    brats_cases,
    brisc_cases,
    drawn_cases,
    lgg_cases,
)
from metseg_trainer.evaluation.structures import evaluate_structures, format_structures
from metseg_trainer.evaluation.torch_predictor import TorchPredictor

__all__ = [
    "CORRUPTIONS",
    "EMPTY_CONVENTION",
    "EvaluationPatient",
    "EvaluationResult",
    "RunEvaluation",
    "StructureCase",
    "TorchPredictor",
    "brats_cases",
    "brisc_cases",
    "choose_operating_point",
    "compare_networks",
    "confidence_interval",
    "dice",
    "drawn_cases",
    "evaluate_model",
    "evaluate_networks",
    "evaluate_structures",
    "format_structures",
    "highest_mean",
    "implanted_patients",
    "lgg_cases",
    "load_patients",
    "load_predictor",
    "measure",
    "merge_evaluations",
]
