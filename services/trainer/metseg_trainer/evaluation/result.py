"""The figures of a model on a set of patients, by patient and summed up for a model card."""

import statistics as plain
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from metseg.contracts import CalibrationPoint, Detection, DiceSummary, Evaluation, LesionMetrics, MetricSummary
from metseg_trainer.evaluation.brats_mets import BratsMets
from metseg_trainer.evaluation.calibration import ReliabilityDiagram
from metseg_trainer.evaluation.candidates import Peaks, free_response
from metseg_trainer.evaluation.corruptions import CORRUPTIONS, SINGLE_SLICES, SINGLE_SLICES_TITLE
from metseg_trainer.evaluation.lesionwise import LesionwiseMetrics, TrueLesion, diameter_stratum, volume_class
from metseg_trainer.evaluation.masks import MaskMetrics
from metseg_trainer.evaluation.statistics import measure

__all__ = ["EvaluationResult", "PatientResult", "merge_results"]


@dataclass(frozen=True)
class PatientResult:
    """One patient's metrics and the subgroups that the patient belongs to."""

    mask: MaskMetrics
    lesions: LesionwiseMetrics
    brats: BratsMets
    peaks: Peaks
    groups: Mapping[str, str]


@dataclass(frozen=True)
class EvaluationResult:
    """A model on a set of patients.

    Attributes:
        network: its name.
        patients: metrics by patient, all slices of a patient as one volume.
        corrupted: patient Dice after a corruption of the scans: by its key, then by patient.
        reliability: of the probabilities.
    """

    network: str
    patients: dict[str, PatientResult] = field(default_factory=dict)
    corrupted: dict[str, dict[str, float]] = field(default_factory=dict)
    reliability: ReliabilityDiagram = field(default_factory=ReliabilityDiagram)

    @property
    def dice(self) -> dict[str, float]:
        """Patient Dice."""
        return {id: result.mask.dice for id, result in self.patients.items()}

    @property
    def summary(self) -> DiceSummary:
        """Mean, median and spread of patient Dice."""
        scores = list(self.dice.values())
        single = self.corrupted.get(SINGLE_SLICES)
        return DiceSummary(
            patients=len(scores),
            mean=plain.fmean(scores),
            median=plain.median(scores),
            std=plain.stdev(scores) if len(scores) > 1 else 0.0,
            lowest=min(scores),
            highest=max(scores),
            mean_single_slices=plain.fmean(single.values()) if single else None,
        )

    def card(self) -> Evaluation:
        """All figures, without a patient's name."""
        masks = [result.mask for result in self.patients.values()]
        named = {name: measure([getattr(mask, name) for mask in masks]) for name in MaskMetrics.__annotations__}
        titles = {SINGLE_SLICES: SINGLE_SLICES_TITLE} | {key: one.title for key, one in CORRUPTIONS.items()}
        robustness = {titles[key]: measure(list(scores.values())) for key, scores in self.corrupted.items()}
        return Evaluation(
            measures=_known(named),
            lesions=self._lesions(),
            ece=self.reliability.ece,
            reliability=[
                CalibrationPoint(said=min(predicted, 1.0), true=true, pixels=pixels)
                for predicted, true, pixels in self.reliability.points
            ],
            robustness=_known(robustness),
            subgroups=self._subgroups(),
        )

    def _lesions(self) -> LesionMetrics:
        results = [result.lesions for result in self.patients.values()]
        brats = [result.brats for result in self.patients.values()]
        lesions = [one for by in results for one in by.lesions]
        false_positives = sum(len(by.false_positives_mm) for by in results)
        known = _known(
            {
                "dice": measure([by.dice for by in results]),
                "false positives": measure([float(len(by.false_positives_mm)) for by in results]),
            }
        )
        on_vessels = [by.false_on_vessels for by in results if by.false_on_vessels is not None]
        return LesionMetrics(
            by_diameter=_detections(lesions, lambda one: one.diameter_mm, diameter_stratum),
            by_volume=_detections(lesions, lambda one: one.volume_mm3, volume_class),
            froc=free_response(result.peaks for result in self.patients.values()),
            lesionwise_dice=known["dice"],
            false_positives=known["false positives"],
            brats_dice=measure([one.dice for one in brats]),
            brats_surface_dice=measure([one.surface_dice for one in brats]),
            false_positives_on_vessels=sum(on_vessels) / false_positives if on_vessels and false_positives else None,
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


def merge_results(results: Sequence[EvaluationResult]) -> EvaluationResult:
    """The results of one network on disjoint sets of patients, such as folds, as one."""
    merged = EvaluationResult(results[0].network)
    for result in results:
        merged.patients.update(result.patients)
        for key, scores in result.corrupted.items():
            merged.corrupted.setdefault(key, {}).update(scores)
        merged.reliability.merge(result.reliability)
    return merged


def _detections(
    lesions: Iterable[TrueLesion], size: Callable[[TrueLesion], float], name: Callable[[float], str]
) -> dict[str, Detection]:
    """How many lesions of each size were found, the smallest first."""
    groups: dict[str, list[TrueLesion]] = defaultdict(list)
    for lesion in sorted(lesions, key=size):
        groups[name(size(lesion))].append(lesion)
    return {
        group: Detection(
            lesions=len(found),
            sensitivity=plain.fmean(lesion.detected for lesion in found),
            dice=plain.fmean(lesion.dice for lesion in found),
        )
        for group, found in groups.items()
    }


def _known(measures: Mapping[str, MetricSummary | None]) -> dict[str, MetricSummary]:
    return {name: one for name, one in measures.items() if one is not None}
