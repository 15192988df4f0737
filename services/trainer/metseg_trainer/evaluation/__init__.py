"""Evaluation: figures by patient and by lesion, how sure they are, and what a scan's changes do to them."""

from metseg_trainer.evaluation.calibration import OperatingPoint, Reliability, choose
from metseg_trainer.evaluation.corruptions import SHIFTS
from metseg_trainer.evaluation.evaluate import (
    EvaluationResult,
    Patients,
    TestPatient,
    TorchPredictor,
    evaluate,
    shift_titles,
)
from metseg_trainer.evaluation.masks import EMPTY_CONVENTION, dice
from metseg_trainer.evaluation.statistics import compare_networks, interval

__all__ = [
    "EMPTY_CONVENTION",
    "SHIFTS",
    "EvaluationResult",
    "OperatingPoint",
    "Patients",
    "Reliability",
    "TestPatient",
    "TorchPredictor",
    "choose",
    "compare_networks",
    "dice",
    "evaluate",
    "interval",
    "shift_titles",
]
