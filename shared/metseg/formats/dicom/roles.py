"""Which sequence a series is: by the standard's attributes where present, else by its description.

The standard's attributes say how an image was acquired (repetition, echo and inversion time, a contrast agent), which
determines the weighting. A description is free text, different in each hospital, and decides only where they do not.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from metseg.contracts import Role
from metseg.errors import InvalidParameter
from metseg.formats.dicom.instances import Acquisition
from metseg.formats.dicom.stacks import Stack

__all__ = ["ChosenStack", "choose_stacks", "role_of_acquisition"]

MIN_FLAIR_INVERSION_MS = 1500.0  # suppresses water at every field strength in use
MIN_T2_ECHO_MS = 60.0
MAX_T1_ECHO_MS = 40.0
MAX_T1_REPETITION_MS = 1500.0
MAX_INVERTED_T1_REPETITION_MS = 3500.0
MAX_T1_INVERSION_MS = 1300.0
TIMES = "its times of repetition, echo and inversion"
OTHER = re.compile(
    r"(?<![a-z])(dwi|dti|diff\w*|adc|trace\w*|swi|t2\*|perf\w*|dsc|dce|asl|bold|fmri|tof|angio\w*|mra|mrv|spectro\w*|"
    r"mip|phase|field.?map|scout|survey|loc\w*|b0|b1000|other)(?![a-z])"
)
FLAIR = re.compile(r"flair|dark.?fluid|tirm")
T1 = re.compile(r"(?<![a-z])t1(?![0-9])|mp.?rage|bravo|spgr|fspgr|tfl|vibe")
T2 = re.compile(r"(?<![a-z])t2(?![0-9])")
CONTRAST = re.compile(
    r"(?<![a-z])(gd|gado\w*|post|contrast|ce|t1c|t1ce|t1.?gd|km|kontrast|c\+|enhanced|postcontrast|dotarem|magnevist)"
    r"(?![a-z])|\+ ?[cg](?![a-z])"
)
NO_CONTRAST = re.compile(
    r"(?<![a-z])(pre|native?|without|ohne|no|non|w/o)(?![a-z])(.{0,3}(contrast|gd|km|c|ce)(?![a-z]))?"
)
DERIVED = {"ADC", "FA", "TRACEW", "MIP", "PROJECTION IMAGE", "SUBTRACT", "PHASE", "P", "T2 MAP", "T1 MAP"}


class ChosenStack(NamedTuple):
    """A stack that becomes a channel, and how its role was found, in words."""

    stack: Stack
    role_source: str


def role_of_acquisition(acquisition: Acquisition) -> tuple[Role | None, str]:
    """The role of a sequence and how it was found; None where it is another sequence, or unknown."""
    if (
        acquisition.image_type & DERIVED
        or OTHER.search(acquisition.description)
        or "EP" in acquisition.scanning_sequence
    ):
        return None, ""
    by_times = _weighting_by_times(acquisition)
    weighting = by_times or _weighting_by_description(acquisition)
    role_source = TIMES if by_times else "its description"
    if weighting == "flair":
        return "flair", role_source
    if weighting != "t1":
        return None, ""
    if acquisition.contrast:
        return "post", f"{role_source} and its contrast agent"
    named = f"{acquisition.description} {acquisition.sequence_name}"
    if CONTRAST.search(named) and not NO_CONTRAST.search(named):
        return "post", f"{role_source} and a contrast agent in its description"
    return "pre", role_source


def _weighting_by_times(acquisition: Acquisition) -> str | None:
    """`flair`, `t1` or `other` by the times in milliseconds; None where they do not determine it."""
    echo, repetition, inversion = acquisition.echo_ms, acquisition.repetition_ms, acquisition.inversion_ms
    if echo is None:
        return None
    if echo >= MIN_T2_ECHO_MS:
        if inversion is not None and inversion >= MIN_FLAIR_INVERSION_MS:
            return "flair"
        plain = (
            inversion is None
            and "IR" not in acquisition.scanning_sequence
            and not FLAIR.search(acquisition.description)
        )
        return "other" if plain and repetition is not None else None
    if echo >= MAX_T1_ECHO_MS or repetition is None:
        return None
    longest = MAX_T1_REPETITION_MS if inversion is None else MAX_INVERTED_T1_REPETITION_MS
    fits = repetition <= longest and (inversion is None or inversion <= MAX_T1_INVERSION_MS)
    return "t1" if fits else None


def _weighting_by_description(acquisition: Acquisition) -> str | None:
    names = f"{acquisition.description} {acquisition.sequence_name}"
    if FLAIR.search(names) and not T1.search(names):
        return "flair"
    if T1.search(names):
        return "t1"
    return "other" if T2.search(names) else None


def choose_stacks(stacks: Sequence[Stack]) -> tuple[dict[Role | None, ChosenStack], list[str]]:
    """Choose a stack for each role.

    Returns:
        The stacks by role, a single one of unknown role by None; and warnings of the others.

    Raises:
        InvalidParameter: there are several series, all of unknown role.
    """
    candidates: dict[Role, list[ChosenStack]] = {}
    for stack in stacks:
        role, role_source = role_of_acquisition(stack.acquisition)
        if role is not None:
            candidates.setdefault(role, []).append(ChosenStack(stack, role_source))
    if not candidates:
        if len(stacks) > 1:
            raise InvalidParameter(
                "None of the series is marked as a FLAIR or a T1 before or after contrast; send each in its field "
                "flair, pre or post."
            )
        return {None: ChosenStack(stacks[0], "itself, as the only series")}, []
    chosen: dict[Role | None, ChosenStack] = {role: max(of, key=_preference) for role, of in candidates.items()}
    others = len(stacks) - len(chosen)
    if not others:
        return chosen, []
    return chosen, [
        f"Series that are of no use here, or that a better one of their kind stands for, were left out: {others}."
    ]


def _preference(choice: ChosenStack) -> tuple[bool, bool, int, int]:
    """Original images before derived ones, then a role found by times, the most voxels, and the latest series."""
    frames, rows, columns = choice.stack.shape
    original = "DERIVED" not in choice.stack.acquisition.image_type
    return original, choice.role_source.startswith(TIMES), frames * rows * columns, choice.stack.first.series_number
