"""The weighting of a series, by scored evidence: a table of rules, each with its weighting and points.

The standard's attributes say how an image was acquired, so they count most; free text is different in each hospital and
counts less, but names what no attribute does. A weighting is accepted with enough points and a margin over the next.
"""

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from metseg.formats.dicom.acquisition import Acquisition
from metseg.formats.words import Meaning, interpret

__all__ = ["IMAGE_KINDS", "Evidence", "Weighting", "weigh"]

Weighting = Literal["t1", "flair", "other"]

MIN_SCORE = 2
MARGIN = 2
"""Points that a weighting needs, and needs more than the next one."""
MIN_CONTRAST_SCORE = 2
AGENT_SCORE, NO_AGENT_SCORE, WORDS_SCORE = 4, -2, 3

MIN_FLAIR_INVERSION_MS = 1500.0  # suppresses water at every field strength in use
MIN_T2_ECHO_MS = 60.0
MAX_T1_ECHO_MS = 40.0
MAX_T1_REPETITION_MS = 1500.0
MAX_INVERTED_T1_REPETITION_MS = 3500.0
MAX_PREPARED_GRADIENT_REPETITION_MS = 7000.0  # MP2RAGE
MAX_T1_INVERSION_MS = 1300.0
MIN_SHORT_INVERSION_MS = 300.0  # shorter ones suppress fat
MAX_SPIN_ECHO_FREE_REPETITION_MS = 150.0  # no spin echo has a shorter one
MAX_GRADIENT_T1_ECHO_MS = 12.0
MIN_T2_STAR_ECHO_MS = 15.0
MIN_SCOUT_REPETITION_MS = 30.0
MIN_GRADIENT_T1_REPETITION_MS = 4.0

NOT_AN_IMAGE = frozenset({"P", "R", "I", "PHASE", "PHASE MAP", "REAL", "IMAGINARY", "VELOCITY", "B0 MAP"})
MAPS = frozenset(
    {"ADC", "EADC", "FA", "TRACEW", "TRACE", "EXP", "TENSOR", "DIFFUSION", "T1 MAP", "T2 MAP", "T2_STAR MAP", "R2 MAP"}
    | {
        "MIP",
        "MINIP",
        "MNIP",
        "MAX_IP",
        "MIN_IP",
        "MAXIP",
        "PROJECTION IMAGE",
        "COLLAPSE",
        "SUBTRACT",
        "SUBTRACTION",
        "SUB",
    }
    | {
        "SWI",
        "CBV",
        "CBF",
        "RCBV",
        "RCBF",
        "RELCBF",
        "RELCBV",
        "MTT",
        "TTP",
        "TMAX",
        "PERFUSION",
        "ASL",
        "FMRI",
        "T-MAP",
    }
    | {"FIELD MAP", "FIELDMAP", "INV1", "INV2", "SCREEN SAVE", "MASK", "COLFA", "ECC", "PROPS", "MIN IP", "MAX IP"}
    | {"LOCALIZER", "FLOW_ENCODED", "FAT_FRACTION", "WATER_FRACTION", "SPECTROSCOPY"}
)
WRONG_FAMILY = frozenset({"OPP_PHASE", "OUT_PHASE", "OPPOSED_PHASE", "OP", "OUT OF PHASE", "FAT", "F"})
"""Members of in-phase and opposed-phase families that show no T1 contrast of tissue."""
IN_PHASE, WATER = frozenset({"IN_PHASE", "IP"}), frozenset({"WATER", "W"})
IMAGE_KINDS = NOT_AN_IMAGE | MAPS | WRONG_FAMILY | IN_PHASE | WATER
"""Slices of one series that differ in these are of different kinds."""


class Evidence(NamedTuple):
    """What is known of a series.

    Attributes:
        scores: points of each weighting.
        source: the deciding evidence, without text of the header.
        kind: of an image that the model does not use, as text; empty if unknown.
        contrast: whether an agent was given; None where nothing says so, or things contradict each other.
        is_contradictory: whether an agent is both named and denied.
    """

    scores: Mapping[Weighting, int]
    source: str
    kind: str
    contrast: bool | None
    is_contradictory: bool

    @property
    def weighting(self) -> Weighting | None:
        """The weighting with a clear margin; None where there is none."""
        (first, best), (_, second) = sorted(self.scores.items(), key=lambda item: -item[1])[:2]
        return first if best >= MIN_SCORE and best - second >= MARGIN else None

    @property
    def possible(self) -> tuple[Weighting, ...]:
        """The weightings of T1 and FLAIR that cannot be ruled out if none is clear."""
        best = max(self.scores.values())
        usable: tuple[Weighting, ...] = ("t1", "flair")
        return tuple(each for each in usable if best < MIN_SCORE or best - self.scores[each] < MARGIN)


class Subject(NamedTuple):
    """A series as the rules see it: its header and what its text means."""

    header: Acquisition
    text: Meaning


class Rule(NamedTuple):
    """One piece of evidence.

    Attributes:
        source: what it is, for the reader of a result.
        points: that it gives a weighting.
        weighting: that it speaks for.
        holds: whether the series has it.
        kind: of the image, where it speaks for `other`.
    """

    source: str
    points: int
    weighting: Weighting
    holds: Callable[[Subject], bool]
    kind: str = ""


def _has(codes: frozenset[str]) -> Callable[[Subject], bool]:
    return lambda series: bool(series.header.image_type & codes)


def _scanned(*codes: str) -> Callable[[Subject], bool]:
    return lambda series: bool(series.header.scanning_sequence.intersection(codes))


def _says(*subjects: str) -> Callable[[Subject], bool]:
    return lambda series: series.text.subject in subjects


def _weighted(*contrasts: str) -> Callable[[Subject], bool]:
    return lambda series: series.header.weighting in contrasts


def _echo(series: Subject) -> float:
    return series.header.echo_ms or 0.0


def _inversion(series: Subject) -> float:
    return series.header.inversion_ms or 0.0


def _is_inverted(series: Subject) -> bool:
    return series.header.inversion_ms is not None or "IR" in series.header.scanning_sequence


def _is_prepared(series: Subject) -> bool:
    return _is_inverted(series) or "MP" in series.header.sequence_variant


def _is_gradient(series: Subject) -> bool:
    """Whether it is a gradient echo, by its code, or else by a repetition time too short for spin echoes."""
    codes = series.header.scanning_sequence
    if codes & {"GR", "SE", "RM"}:
        return "GR" in codes and "SE" not in codes
    repetition = series.header.repetition_ms
    return repetition is not None and repetition <= MAX_SPIN_ECHO_FREE_REPETITION_MS


def _is_steady_state(series: Subject) -> bool:
    variant = series.header.sequence_variant
    return bool(variant & {"SS", "TRSS"}) and not variant & {"SP", "MP"}


def _compensates_flow(series: Subject) -> bool:
    return any(option.startswith("FC") for option in series.header.scan_options) and not _is_prepared(series)


def _is_scout(series: Subject) -> bool:
    """A two-dimensional gradient echo too fast for contrast."""
    repetition = series.header.repetition_ms
    is_fast = repetition is not None and repetition < MIN_SCOUT_REPETITION_MS
    return bool(series.header.is_2d) and is_fast and _is_gradient(series) and not _is_prepared(series)


def _is_too_fast(series: Subject) -> bool:
    repetition = series.header.repetition_ms
    return repetition is not None and repetition < MIN_GRADIENT_T1_REPETITION_MS and not _is_prepared(series)


def _is_t2(series: Subject) -> bool:
    return _echo(series) >= MIN_T2_ECHO_MS and not _is_inverted(series) and series.header.repetition_ms is not None


def _suppresses_fat(series: Subject) -> bool:
    """A spin echo after an inversion that is too short to suppress water, whatever it is called."""
    return 0 < _inversion(series) < MIN_SHORT_INVERSION_MS and not _is_gradient(series)


def _is_spin_echo_t1(series: Subject) -> bool:
    repetition, echo, inversion = series.header.repetition_ms, series.header.echo_ms, series.header.inversion_ms
    if echo is None or repetition is None or echo >= MAX_T1_ECHO_MS:
        return False
    if inversion is None:
        return repetition <= MAX_T1_REPETITION_MS
    return repetition <= MAX_INVERTED_T1_REPETITION_MS and MIN_SHORT_INVERSION_MS <= inversion <= MAX_T1_INVERSION_MS


def _is_gradient_t1(series: Subject) -> bool:
    repetition, echo, inversion = series.header.repetition_ms, series.header.echo_ms, series.header.inversion_ms
    if echo is None or repetition is None or echo > MAX_GRADIENT_T1_ECHO_MS:
        return False
    longest = MAX_PREPARED_GRADIENT_REPETITION_MS if _is_prepared(series) else MAX_T1_REPETITION_MS
    return repetition <= longest and (inversion is None or inversion <= MAX_T1_INVERSION_MS)


TIMES = "its times of repetition, echo and inversion"
TYPE = "its type of image"
SEQUENCE = "its pulse sequence"
WORDS = "its description"

RULES: tuple[Rule, ...] = (
    # What an image is, whatever its weighting
    Rule(TYPE, 20, "other", _has(NOT_AN_IMAGE), "a phase, real or imaginary image"),
    Rule(TYPE, 20, "other", _has(MAPS), "a map or a projection"),
    Rule(TYPE, 20, "other", _has(WRONG_FAMILY), "an opposed-phase or fat image"),
    # How it was acquired
    Rule(SEQUENCE, 12, "other", _scanned("EP"), "echo planar imaging"),
    Rule(SEQUENCE, 12, "other", _scanned("TOF", "PC", "ASL"), "angiography or perfusion"),
    Rule(SEQUENCE, 12, "other", lambda it: (it.header.b_value or 0) > 0, "diffusion"),
    Rule(SEQUENCE, 12, "other", lambda it: it.header.is_angiography, "angiography"),
    Rule(SEQUENCE, 6, "t1", _weighted("T1")),
    Rule(SEQUENCE, 6, "flair", _weighted("FLUID_ATTENUATED")),
    Rule(
        *(SEQUENCE, 12, "other"),
        _weighted(
            "DIFFUSION", "PERFUSION", "T2", "T2_STAR", "TOF", "PROTON_DENSITY", "STIR", "FLOW_ENCODED", "TAGGING"
        ),
        "another weighting",
    ),
    Rule(SEQUENCE, 5, "other", lambda it: _is_gradient(it) and _is_steady_state(it), "steady state"),
    Rule(SEQUENCE, 3, "other", lambda it: _is_gradient(it) and _compensates_flow(it), "angiography"),
    Rule(TIMES, 8, "other", lambda it: _is_gradient(it) and _echo(it) >= MIN_T2_STAR_ECHO_MS, "susceptibility"),
    Rule(TIMES, 5, "other", _is_scout, "a localiser"),
    Rule(TIMES, 4, "other", lambda it: _is_gradient(it) and _is_too_fast(it), "a localiser or calibration"),
    # Its weighting by times
    Rule(TIMES, 6, "flair", lambda it: _echo(it) >= MIN_T2_ECHO_MS and _inversion(it) >= MIN_FLAIR_INVERSION_MS),
    Rule(TIMES, 2, "other", _is_t2, "T2"),
    Rule(TIMES, 6, "other", _suppresses_fat, "fat suppression by inversion (STIR)"),
    Rule(TIMES, 4, "t1", lambda it: not _is_gradient(it) and _is_spin_echo_t1(it)),
    Rule(TIMES, 3, "t1", lambda it: _is_gradient(it) and _is_gradient_t1(it)),
    # What people call it
    Rule(WORDS, 10, "other", _says("other")),
    Rule(WORDS, 4, "flair", _says("flair")),
    Rule(WORDS, 4, "t1", _says("t1")),
    Rule(WORDS, 3, "other", _says("t2")),
)


def weigh(acquisition: Acquisition) -> Evidence:
    """What the header and the description of a series say of its weighting and of a contrast agent."""
    text = _meaning(acquisition)
    series = Subject(acquisition, text)
    found = [rule for rule in RULES if rule.holds(series)]
    scores: dict[Weighting, int] = {"t1": 0, "flair": 0, "other": 0}
    for rule in found:
        scores[rule.weighting] += rule.points
    contrast = {True: AGENT_SCORE, False: NO_AGENT_SCORE, None: 0}[acquisition.agent]
    contrast += {True: WORDS_SCORE, False: -WORDS_SCORE, None: 0}[text.contrast]
    is_contradictory = (
        acquisition.agent is not None and text.contrast is not None and acquisition.agent != text.contrast
    )
    best = max(scores, key=lambda each: scores[each])
    deciding = max((rule for rule in found if rule.weighting == best), key=lambda rule: rule.points, default=None)
    return Evidence(
        scores=scores,
        source="" if deciding is None else deciding.source,
        kind="" if deciding is None or best != "other" else deciding.kind or text.kind,
        contrast=None if abs(contrast) < MIN_CONTRAST_SCORE else contrast > 0,
        is_contradictory=is_contradictory,
    )


def _meaning(acquisition: Acquisition) -> Meaning:
    """What the description means; the protocol and the vendor's name count where it says nothing."""
    said = [interpret(text) for text in (acquisition.description, acquisition.protocol, acquisition.sequence_name)]
    decisive = next((each for each in said if each.subject is not None), said[0])
    contrast = next((each.contrast for each in said[:2] if each.contrast is not None), None)
    return decisive._replace(contrast=contrast)
