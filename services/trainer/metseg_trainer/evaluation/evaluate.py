"""Evaluate: how well a model finds the lesions of patients that it has never seen."""

import statistics as plain
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from metseg.contracts import (
    CalibrationPoint,
    Detection,
    DiceSummary,
    Evaluation,
    LesionMetrics,
    MetricSummary,
    Preprocessing,
)
from metseg.imaging import CHANNELS, Volume
from metseg.inference import Predictor, segment
from metseg_trainer.data.spacing import spacing_mm
from metseg_trainer.evaluation.calibration import OperatingPoint, Reliability
from metseg_trainer.evaluation.corruptions import SHIFTS, Shift
from metseg_trainer.evaluation.lesionwise import Labels, Lesionwise, label, match, stratum
from metseg_trainer.evaluation.masks import MaskFigures, compare, dice
from metseg_trainer.evaluation.statistics import measure
from metseg_trainer.networks import SegmentationNetwork, channels_last

__all__ = ["EvaluationResult", "Patients", "TestPatient", "TorchPredictor", "evaluate", "shift_titles"]

Mask = npt.NDArray[np.bool_]

LONE_SLICES = "lone-slices"
FLAIR = 1


@dataclass(frozen=True, eq=False)
class TestPatient:
    """A patient to be judged by.

    Attributes:
        id: of the patient.
        site: the clinic.
        volume: the study.
        truth: bool, (slice, row, column).
        spacing_mm: between slices, rows and columns, assumed where the study stores none.
        labels: its lesions, numbered, where they are known apart; None takes the truth's components.
        diameters_mm: of the numbered lesions, where they are known.
        vessels: what enhances and is no lesion, where that is known.
    """

    __test__ = False  # pytest takes classes of such names for its own

    id: str
    site: str
    volume: Volume
    truth: Mask
    spacing_mm: tuple[float, float, float]
    labels: Labels | None = None
    diameters_mm: tuple[float, ...] | None = None
    vessels: Mask | None = None

    @classmethod
    def of(cls, id: str, site: str, volume: Volume, truth: Mask) -> "TestPatient":
        """A patient of whom only the mask is known."""
        return cls(id, site, volume, truth, spacing_mm(volume))

    @property
    def missing(self) -> tuple[str, ...]:
        """The sequences that FLAIR stands in for."""
        flair = self.volume.pixels[..., FLAIR]
        return tuple(
            name
            for channel, name in enumerate(CHANNELS)
            if channel != FLAIR and np.array_equal(self.volume.pixels[..., channel], flair)
        )


Patients = Callable[[], Iterable[TestPatient]]
"""Gives the same patients each time it is asked, one after the other."""


@dataclass(frozen=True)
class PatientResult:
    """One patient's figures and the groups that the patient belongs to."""

    mask: MaskFigures
    lesions: Lesionwise
    groups: Mapping[str, str]


@dataclass(frozen=True)
class EvaluationResult:
    """A model on a set of patients.

    Attributes:
        network: its name.
        patients: figures by patient, all slices of a patient as one volume.
        shifted: patient Dice after a change of the scans: by key of the change, then by patient.
        reliability: of the probabilities.
    """

    network: str
    patients: dict[str, PatientResult] = field(default_factory=dict)
    shifted: dict[str, dict[str, float]] = field(default_factory=dict)
    reliability: Reliability = field(default_factory=Reliability)

    @property
    def dice(self) -> dict[str, float]:
        """Patient Dice."""
        return {id: result.mask.dice for id, result in self.patients.items()}

    @property
    def summary(self) -> DiceSummary:
        """Mean, median and spread of patient Dice."""
        scores = list(self.dice.values())
        lone = self.shifted.get(LONE_SLICES)
        return DiceSummary(
            patients=len(scores),
            mean=plain.fmean(scores),
            median=plain.median(scores),
            std=plain.stdev(scores) if len(scores) > 1 else 0.0,
            lowest=min(scores),
            highest=max(scores),
            mean_single_slices=plain.fmean(lone.values()) if lone else None,
        )

    def card(self) -> Evaluation:
        """All figures, without a patient's name."""
        masks = [result.mask for result in self.patients.values()]
        named = {name: measure([getattr(mask, name) for mask in masks]) for name in MaskFigures.__annotations__}
        titles = shift_titles()
        robustness = {titles[key]: measure(list(scores.values())) for key, scores in self.shifted.items()}
        return Evaluation(
            measures=_known(named),
            lesions=self._lesions(),
            ece=self.reliability.ece,
            reliability=[
                CalibrationPoint(said=min(said, 1.0), true=true, pixels=pixels)
                for said, true, pixels in self.reliability.points
            ],
            robustness=_known(robustness),
            subgroups=self._subgroups(),
        )

    def _lesions(self) -> LesionMetrics:
        found = [result.lesions for result in self.patients.values()]
        strata = defaultdict(list)
        for lesion in sorted((one for by in found for one in by.lesions), key=lambda one: one.diameter_mm):
            strata[stratum(lesion.diameter_mm)].append(lesion)
        false = sum(len(by.false_positives_mm) for by in found)
        known = _known(
            {
                "dice": measure([by.dice for by in found]),
                "false": measure([float(len(by.false_positives_mm)) for by in found]),
            }
        )
        return LesionMetrics(
            by_diameter={
                name: Detection(
                    lesions=len(lesions),
                    sensitivity=plain.fmean(lesion.detected for lesion in lesions),
                    dice=plain.fmean(lesion.dice for lesion in lesions),
                )
                for name, lesions in strata.items()
            },
            lesionwise_dice=known["dice"],
            false_positives=known["false"],
            false_positives_on_vessels=sum(by.false_on_vessels for by in found) / false if false else None,
        )

    def _subgroups(self) -> dict[str, dict[str, MetricSummary]]:
        groups: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for result in self.patients.values():
            for group, name in result.groups.items():
                groups[group][name].append(result.mask.dice)
        return {
            group: _known({name: measure(scores) for name, scores in sorted(by.items())})
            for group, by in groups.items()
        }


class TorchPredictor:
    """The Predictor that runs a network as it was trained, before it is exported."""

    max_concurrency = batch_size = 1

    def __init__(
        self, network: SegmentationNetwork, preprocessing: Preprocessing, point: OperatingPoint | None = None
    ) -> None:
        self.preprocessing = preprocessing
        self.point = point or OperatingPoint()
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network = channels_last(network.eval().to(self._device))

    @property
    def threshold(self) -> float:
        """Of the operating point."""
        return self.point.threshold

    @property
    def smallest_lesion_px(self) -> float:
        """Of the operating point."""
        return self.point.smallest_lesion_px

    def __call__(self, tensor: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Lesion probability in [0, 1], (slice, row, column), of a (slice, row, column, channel) input."""
        slices = torch.from_numpy(np.ascontiguousarray(tensor.transpose(0, 3, 1, 2)))
        with torch.inference_mode():
            logits = self.network(slices.to(self._device, memory_format=torch.channels_last))
            probability: npt.NDArray[np.float32] = torch.sigmoid(logits)[:, 0].float().cpu().numpy()
        return probability


def evaluate(
    network: str, predictor: Predictor, patients: Iterable[TestPatient], shifts: Mapping[str, Shift] = SHIFTS
) -> EvaluationResult:
    """Judge a model by patient, through the pipeline that serves.

    Args:
        network: the model's name, for the record.
        predictor: the model.
        patients: to be judged by.
        shifts: changes that each patient's scans are judged after as well, beside lone slices; none skips these too.
    """
    result = EvaluationResult(network)
    thirds = []
    for patient in patients:
        found = segment(patient.volume, predictor)
        result.reliability.add(np.asarray(found.probability), patient.truth)
        labels = label(patient.truth) if patient.labels is None else patient.labels
        lesions = match(
            found.mask, labels, patient.spacing_mm, diameters_mm=patient.diameters_mm, vessels=patient.vessels
        )
        groups = {"site": patient.site, "missing sequences": " and ".join(patient.missing) or "none"}
        result.patients[patient.id] = PatientResult(
            compare(found.mask, patient.truth, patient.spacing_mm), lesions, groups
        )
        thirds.append((int(patient.truth.sum()), patient.id))
        if shifts:
            lone = dice(_lone_slices(patient.volume, predictor), patient.truth)
            result.shifted.setdefault(LONE_SLICES, {})[patient.id] = lone
        for key, shift in shifts.items():
            volume, truth = shift.apply(patient.volume, patient.truth)
            result.shifted.setdefault(key, {})[patient.id] = dice(segment(volume, predictor).mask, truth)
    _by_size(result, [id for _, id in sorted(thirds)])
    return result


def shift_titles() -> dict[str, str]:
    """What the keys of `EvaluationResult.shifted` are called."""
    return {LONE_SLICES: "each slice alone"} | {key: shift.title for key, shift in SHIFTS.items()}


def _by_size(result: EvaluationResult, order: list[str]) -> None:
    """Note each patient's third by lesion volume."""
    for rank, id in enumerate(order):
        third = ("smallest third", "middle third", "largest third")[rank * 3 // len(order)]
        old = result.patients[id]
        result.patients[id] = PatientResult(old.mask, old.lesions, {**old.groups, "lesion volume": third})


def _lone_slices(volume: Volume, predictor: Predictor) -> Mask:
    """The mask of a study whose slices were each submitted alone; a constant slice is refused there, so empty."""
    mask = np.zeros(volume.shape, np.bool_)
    for index, lone in enumerate(volume.single_slices()):
        if lone is not None:
            mask[index] = segment(lone, predictor).mask[0]
    return mask


def _known(measures: Mapping[str, MetricSummary | None]) -> dict[str, MetricSummary]:
    return {name: figure for name, figure in measures.items() if figure is not None}
