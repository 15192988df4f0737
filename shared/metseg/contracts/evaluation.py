"""Evaluation: how good a network is on patients that it has not seen."""

from pydantic import Field

from metseg.contracts.base import Contract, Probability


class DiceSummary(Contract):
    """Dice by patient (all slices of a patient as one volume) of one model on one set of patients."""

    patients: int = Field(ge=1)
    mean: float
    median: float
    std: float
    lowest: float
    highest: float
    mean_single_slices: float | None = Field(default=None, description="each slice submitted alone")


class Interval(Contract):
    """A 95% interval."""

    low: float
    high: float


class Measure(Contract):
    """A figure over patients, each of whom weighs the same; intervals are of patients resampled."""

    patients: int = Field(ge=1, description="who have a value")
    mean: float
    mean_interval: Interval
    median: float
    median_interval: Interval


class Detection(Contract):
    """How many of some lesions were found."""

    lesions: int = Field(ge=1)
    sensitivity: Probability
    dice: Probability = Field(description="mean over these lesions; a missed one counts 0")


class LesionFigures(Contract):
    """Lesion by lesion; a lesion is a 26-connected component, in a lone slice an 8-connected one."""

    by_diameter: dict[str, Detection]
    lesionwise_dice: Measure = Field(description="by patient; missed and false lesions count 0 (BraTS-METS)")
    false_positives: Measure = Field(description="by patient")
    false_positives_on_vessels: float | None = Field(
        default=None, description="share of them that lie on vessels or other tissue that enhances by itself"
    )


class CalibrationPoint(Contract):
    """Pixels that were given about the same probability."""

    said: Probability
    true: Probability
    pixels: int


class Evaluation(Contract):
    """All test figures of one network on one set of patients, none of whom is named."""

    measures: dict[str, Measure] = Field(
        description="by patient: dice, sensitivity, precision, hd95_mm, surface_dice, volume_error"
    )
    lesions: LesionFigures
    ece: Probability = Field(description="expected calibration error")
    reliability: list[CalibrationPoint]
    robustness: dict[str, Measure] = Field(description="patient Dice after a change to the scans, by its title")
    subgroups: dict[str, dict[str, Measure]] = Field(description="patient Dice by group and its name")


class Comparison(Contract):
    """Two networks on the same patients; the difference is the first's mean patient Dice less the second's."""

    networks: tuple[str, str]
    patients: int
    difference: float
    interval: Interval
    p: Probability = Field(description="Wilcoxon's signed-rank test, two-sided")
    effect_size: float = Field(ge=-1, le=1, description="matched-pairs rank-biserial correlation")
    winner: str | None = Field(description="None where the difference may be chance")
    words: str
