"""Evaluate the networks of a run: operating points from validation patients, figures from test patients."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from metseg.contracts import Comparison, OperatingPoint
from metseg.imaging import Preprocessor
from metseg.inference import predict
from metseg_trainer.data import load_patient
from metseg_trainer.evaluation.corruptions import CORRUPTIONS
from metseg_trainer.evaluation.evaluate import evaluate_model
from metseg_trainer.evaluation.operating_point import choose_operating_point
from metseg_trainer.evaluation.patients import implanted_patients, load_patients
from metseg_trainer.evaluation.result import EvaluationResult, merge_results
from metseg_trainer.evaluation.statistics import compare_networks
from metseg_trainer.evaluation.torch_predictor import TorchPredictor
from metseg_trainer.networks import network_title
from metseg_trainer.training import Plan, load_network

__all__ = ["RunEvaluation", "evaluate_networks", "load_predictor", "merge_evaluations"]


@dataclass(frozen=True)
class RunEvaluation:
    """The figures of all networks of a run.

    Attributes:
        predictors: by network, with the operating points that the validation patients chose.
        results: by network, on the test patients.
        implanted: by network, on metastases drawn into the test patients' slices without a lesion.
        comparison: of the two networks with the highest means; None if only one was trained.
    """

    predictors: Mapping[str, TorchPredictor]
    results: Mapping[str, EvaluationResult]
    implanted: Mapping[str, EvaluationResult]
    comparison: Comparison | None

    @property
    def winner(self) -> str:
        """The network with the highest mean patient Dice, whether or not chance explains it."""
        return max(self.results, key=lambda name: self.results[name].summary.mean)

    @property
    def summary(self) -> str:
        """Whether a network won, in a sentence or two."""
        if self.comparison is None:
            mean = self.results[self.winner].summary.mean
            return f"{network_title(self.winner)} alone was trained: mean patient Dice {mean:.3f}."
        if self.comparison.winner is not None:
            return self.comparison.words
        why = "which has the higher mean" if self.comparison.difference else "the first of two equal ones"
        return f"{self.comparison.words} {network_title(self.winner)}, {why}, was chosen."


def evaluate_networks(plan: Plan, *, corrupted: bool = True) -> RunEvaluation:
    """Evaluate the trained networks of a run.

    Args:
        plan: of the run, whose folder has the checkpoints.
        corrupted: whether to evaluate after all `CORRUPTIONS` of the test patients' scans too.

    Returns:
        All figures.
    """
    predictors = {name: load_predictor(plan, name) for name in plan.networks}
    corruptions = CORRUPTIONS if corrupted else {}
    test, seed = plan.test_patients, plan.config.seed
    results = {name: evaluate_model(name, one, load_patients(test), corruptions) for name, one in predictors.items()}
    implanted = {
        name: evaluate_model(name, one, implanted_patients(test, seed), {}) for name, one in predictors.items()
    }
    implanted = {name: result for name, result in implanted.items() if result.patients}
    return RunEvaluation(predictors, results, implanted, _compare_best_two(results))


def load_predictor(plan: Plan, network: str) -> TorchPredictor:
    """A trained network at the operating point that the validation patients choose.

    Small drawn metastases are part of the choice, since the few large gliomas alone would drop small lesions.

    Args:
        plan: of the run, whose folder has the checkpoint.
        network: a key of `NETWORKS`.

    Returns:
        The predictor.
    """
    predictor = TorchPredictor(load_network(plan.checkpoint(network)), plan.preprocessing)
    return TorchPredictor(predictor.network, plan.preprocessing, {"whole": _operating_point(plan, predictor)})


def merge_evaluations(evaluations: Sequence[RunEvaluation]) -> RunEvaluation:
    """The evaluations of all folds as one, with the predictors of the last."""
    names = list(evaluations[0].results)
    results = {name: merge_results([one.results[name] for one in evaluations]) for name in names}
    implanted = {
        name: merge_results(parts)
        for name in names
        if (parts := [one.implanted[name] for one in evaluations if name in one.implanted])
    }
    return RunEvaluation(evaluations[-1].predictors, results, implanted, _compare_best_two(results))


def _operating_point(plan: Plan, predictor: TorchPredictor) -> OperatingPoint:
    patients = plan.validation_patients
    real = (load_patient(patient) for patient in patients)
    drawn = ((one.volume, one.truth) for one in implanted_patients(patients, plan.config.seed))
    return choose_operating_point(
        (
            predict(volume, predictor)["whole"],
            truth,
            Preprocessor(plan.preprocessing).prepare(volume).geometry.voxel_mm3,
        )
        for volume, truth in chain(real, drawn)
    )


def _compare_best_two(results: Mapping[str, EvaluationResult]) -> Comparison | None:
    """The two networks with the highest means against each other, in the order of the run."""
    if len(results) < 2:
        return None
    best = sorted(results, key=lambda name: -results[name].summary.mean)[:2]
    first, second = (name for name in results if name in best)
    return compare_networks((network_title(first), network_title(second)), (results[first].dice, results[second].dice))
