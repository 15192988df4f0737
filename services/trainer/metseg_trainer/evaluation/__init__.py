"""The performance of a model by patient and by lesion, its uncertainty, and the effect of corrupted scans.

- `masks`, `lesionwise`, `candidates`, `brats_mets`, `calibration`: metrics of one patient, or of one model's
  probabilities.
- `statistics`: intervals over patients, and networks compared.
- `patients`, `corruptions`: the data that models are evaluated on.
- `structure_patients`, `structures`: networks with two structures, core and whole.
- `evaluate`, `result`: one model; `evaluate_run`: all networks of a run, at their `operating_point`.
"""

from metseg_trainer.evaluation.corruptions import CORRUPTIONS, show_only
from metseg_trainer.evaluation.evaluate import evaluate_model
from metseg_trainer.evaluation.evaluate_run import RunEvaluation, evaluate_networks, load_predictor, merge_evaluations
from metseg_trainer.evaluation.masks import EMPTY_CONVENTION, dice
from metseg_trainer.evaluation.operating_point import choose_operating_point
from metseg_trainer.evaluation.patients import EvaluationPatient, implanted_patients, load_patients
from metseg_trainer.evaluation.result import EvaluationResult
from metseg_trainer.evaluation.statistics import compare_networks, confidence_interval, highest_mean, measure
from metseg_trainer.evaluation.structure_patients import brisc_slices, drawn_patients, volume_patients
from metseg_trainer.evaluation.structures import (
    STUDIES_WHOLE,
    WHOLE_SET,
    StructureData,
    choose_structure_points,
    evaluate_structures,
    format_structures,
    structure_sets,
)
from metseg_trainer.evaluation.torch_predictor import TorchPredictor

__all__ = [
    "CORRUPTIONS",
    "EMPTY_CONVENTION",
    "STUDIES_WHOLE",
    "WHOLE_SET",
    "EvaluationPatient",
    "EvaluationResult",
    "RunEvaluation",
    "StructureData",
    "TorchPredictor",
    "brisc_slices",
    "choose_operating_point",
    "choose_structure_points",
    "compare_networks",
    "confidence_interval",
    "dice",
    "drawn_patients",
    "evaluate_model",
    "evaluate_networks",
    "evaluate_structures",
    "format_structures",
    "highest_mean",
    "implanted_patients",
    "load_patients",
    "load_predictor",
    "measure",
    "merge_evaluations",
    "show_only",
    "structure_sets",
    "volume_patients",
]
