"""Evaluation: how well a network performs on patients that it was not trained on."""

from pydantic import Field

from metseg.contracts.base import Contract, Probability


class DiceSummary(Contract):
    """Dice per patient (all slices of a patient as one volume) of one model on one set of patients."""

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


class MetricSummary(Contract):
    """A metric over patients with equal weights; intervals are bootstrapped over patients."""

    patients: int = Field(ge=1, description="with a value")
    mean: float
    mean_interval: Interval
    median: float
    median_interval: Interval


class Detection(Contract):
    """How many of some lesions were found."""

    lesions: int = Field(ge=1)
    sensitivity: Probability
    dice: Probability = Field(description="mean over these lesions; a missed one counts 0")


class FrocPoint(Contract):
    """A point of the free-response curve: what is found if a lesion's peak must reach a probability."""

    seed_threshold: Probability
    sensitivity: Probability = Field(description="share of all lesions that are found")
    false_positives: float = Field(ge=0, description="per patient")


class LesionMetrics(Contract):
    """Metrics per lesion: a 26-connected component, in a single slice an 8-connected one."""

    by_diameter: dict[str, Detection]
    by_volume: dict[str, Detection] = Field(default_factory=dict, description="in cards of earlier releases empty")
    froc: list[FrocPoint] = Field(default_factory=list, description="by rising threshold; empty as `by_volume`")
    lesionwise_dice: MetricSummary = Field(description="per patient; missed and false lesions count 0")
    false_positives: MetricSummary = Field(description="per patient")
    brats_dice: MetricSummary | None = Field(
        default=None, description="lesion-wise Dice by the rules of BraTS-METS 2026; None without a lesion of 20 mm3"
    )
    brats_surface_dice: MetricSummary | None = Field(default=None, description="the same for surface Dice")
    false_positives_on_vessels: float | None = Field(
        default=None, description="share of them on vessels or other tissue that enhances normally"
    )


class CalibrationPoint(Contract):
    """Pixels with about the same predicted probability, and the share of them that is lesion."""

    said: Probability
    true: Probability
    pixels: int


class Evaluation(Contract):
    """All test results of one network on one set of patients, without their names."""

    measures: dict[str, MetricSummary] = Field(
        description="per patient: dice, sensitivity, precision, hd95_mm, surface_dice, volume_error"
    )
    lesions: LesionMetrics
    ece: Probability = Field(description="expected calibration error")
    reliability: list[CalibrationPoint]
    robustness: dict[str, MetricSummary] = Field(description="patient Dice after a change to the scans, by its title")
    subgroups: dict[str, dict[str, MetricSummary]] = Field(description="patient Dice by grouping and group")


class Comparison(Contract):
    """Two networks on the same patients; `difference` is the first's mean patient Dice minus the second's."""

    networks: tuple[str, str]
    patients: int
    difference: float
    interval: Interval
    p: Probability = Field(description="Wilcoxon's signed-rank test, two-sided")
    effect_size: float = Field(ge=-1, le=1, description="matched-pairs rank-biserial correlation")
    winner: str | None = Field(description="None if the difference may be due to chance")
    words: str
