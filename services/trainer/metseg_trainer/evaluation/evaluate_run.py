"""Judge: the operating point from validation patients, then all figures on patients who took no part in anything."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from metseg.contracts import Comparison
from metseg.imaging import Preprocessor
from metseg.inference import predict
from metseg_trainer.data import dataset
from metseg_trainer.data.lesion_synthesis import clear_run, enhancing, implant
from metseg_trainer.data.skull_stripping import brain_mask
from metseg_trainer.data.spacing import spacing_mm
from metseg_trainer.evaluation import (
    SHIFTS,
    EvaluationResult,
    OperatingPoint,
    TestPatient,
    TorchPredictor,
    choose,
    compare_networks,
    evaluate,
)
from metseg_trainer.runs.plan import TITLES, Plan
from metseg_trainer.training.fit import LAST, load

__all__ = ["Judgement", "compared", "implanted_patients", "judge", "test_patients", "trained"]

FEWEST_SLICES = 4
"""Of a stretch without glioma that metastases are drawn into for the second test."""


@dataclass(frozen=True)
class Judgement:
    """How the networks did.

    Attributes:
        predictors: by network, with the operating points that the validation patients chose.
        results: by network, on the test patients.
        implanted: by network, on metastases drawn into the test patients' slices without a lesion.
        comparison: of two networks; None where one was trained.
    """

    predictors: Mapping[str, TorchPredictor]
    results: Mapping[str, EvaluationResult]
    implanted: Mapping[str, EvaluationResult]
    comparison: Comparison | None

    @property
    def winner(self) -> str:
        """The network with the highest mean patient Dice, whether or not chance explains it."""
        return max(self.results, key=lambda name: self.results[name].summary.mean)


def judge(plan: Plan, *, shifted: bool = True) -> Judgement:
    """Judge the trained networks of a run.

    Args:
        plan: of the run, whose folder holds the checkpoints.
        shifted: whether the test patients' scans are changed in all ways of `SHIFTS` as well.
    """
    predictors = {name: trained(plan, name) for name in plan.networks}
    shifts = SHIFTS if shifted else {}
    results = {name: evaluate(name, one, test_patients(plan), shifts) for name, one in predictors.items()}
    implanted = {
        name: evaluate(name, one, implanted_patients(plan, plan.split.test), {}) for name, one in predictors.items()
    }
    drawn = {name: result for name, result in implanted.items() if result.patients}
    return Judgement(predictors, results, drawn, compared(results))


def compared(results: Mapping[str, EvaluationResult]) -> Comparison | None:
    """The first two networks against each other."""
    if len(results) < 2:
        return None
    first, second = list(results)[:2]
    return compare_networks((TITLES[first], TITLES[second]), (results[first].dice, results[second].dice))


def test_patients(plan: Plan) -> Iterator[TestPatient]:
    """The test side, patient by patient."""
    for patient in plan.side(plan.split.test):
        yield TestPatient.of(patient.id, patient.site, *dataset.load(patient))


def implanted_patients(plan: Plan, ids: Sequence[str]) -> Iterator[TestPatient]:
    """Patients with metastases drawn into the longest stretch of slices without glioma, whose truth is known."""
    for patient in plan.side(ids):
        volume, truth = dataset.load(patient)
        clear = clear_run(truth)
        if clear.stop - clear.start < FEWEST_SLICES:
            continue
        drawn = implant(volume, truth, _seed(patient.id, plan.recipe.seed))
        if not drawn.diameters_mm:
            continue
        labels = drawn.labels[clear]
        inside = sorted(set(labels[labels > 0].tolist()))
        if not inside:
            continue
        numbered = sum((labels == old) * new for new, old in enumerate(inside, start=1))
        yield TestPatient(
            id=patient.id,
            site=patient.site,
            volume=drawn.volume.part(clear),
            truth=labels > 0,
            spacing_mm=spacing_mm(volume),
            labels=numbered.astype(labels.dtype),
            diameters_mm=tuple(drawn.diameters_mm[old - 1] for old in inside),
            vessels=enhancing(volume, brain_mask(volume))[clear],
        )


def trained(plan: Plan, name: str) -> TorchPredictor:
    """A trained network at the operating point that the validation patients choose."""
    predictor = TorchPredictor(load(plan.folder / name / LAST), plan.preprocessing)
    return TorchPredictor(predictor.network, plan.preprocessing, _operating_point(plan, predictor))


def _operating_point(plan: Plan, predictor: TorchPredictor) -> OperatingPoint:
    """Small metastases have a say in it as well, or the few large gliomas would choose to leave them out."""
    real = (dataset.load(patient) for patient in plan.side(plan.split.validation))
    drawn = ((one.volume, one.truth) for one in implanted_patients(plan, plan.split.validation))
    return choose(
        (
            predict(volume, predictor),
            truth,
            Preprocessor(plan.preprocessing).prepare(volume).geometry.reference_px,
        )
        for volume, truth in chain(real, drawn)
    )


def _seed(patient: str, seed: int) -> int:
    """Of a test patient's drawing: another than any of the training side."""
    return int.from_bytes(hashlib.sha256(f"test {patient} {seed}".encode()).digest()[:4])
