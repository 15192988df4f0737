"""Which sequence a series is: told by the standard's tags where they are there, else by its description.

The standard's tags say how an image was made (times of repetition, echo and inversion, a contrast agent); from these
the weighting follows. A description is free text, different in each hospital, and decides only where they do not.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from metseg.contracts import Role
from metseg.errors import InvalidParameter
from metseg.formats.dicom.instances import Traits
from metseg.formats.dicom.stacks import Stack

__all__ = ["Choice", "choose", "role_of"]

LONG_INVERSION_MS = 1500.0  # nulls water, at every field strength in use
LONG_ECHO_MS = 60.0
SHORT_ECHO_MS = 40.0
T1_REPETITION_MS = 1500.0
INVERTED_T1_REPETITION_MS = 3500.0
T1_INVERSION_MS = 1300.0
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


class Choice(NamedTuple):
    """A stack that became a channel, and by what it was told, in words."""

    stack: Stack
    told_by: str


def role_of(traits: Traits) -> tuple[Role | None, str]:
    """The role that a sequence has, and by what that was told; None where it is another sequence, or not to be told."""
    if traits.image_type & DERIVED or OTHER.search(traits.words) or "EP" in traits.scanning:
        return None, ""
    by_times = _weighting(traits)
    weighting = by_times or _named(traits)
    told_by = TIMES if by_times else "its description"
    if weighting == "flair":
        return "flair", told_by
    if weighting != "t1":
        return None, ""
    if traits.contrast:
        return "post", f"{told_by} and its contrast agent"
    named = f"{traits.words} {traits.sequence}"
    if CONTRAST.search(named) and not NO_CONTRAST.search(named):
        return "post", f"{told_by} and a contrast agent in its description"
    return "pre", told_by


def _weighting(traits: Traits) -> str | None:
    """`flair`, `t1` or `other` by the times in milliseconds; None where they are not enough to tell."""
    echo, repetition, inversion = traits.echo_ms, traits.repetition_ms, traits.inversion_ms
    if echo is None:
        return None
    if echo >= LONG_ECHO_MS:
        if inversion is not None and inversion >= LONG_INVERSION_MS:
            return "flair"
        plain = inversion is None and "IR" not in traits.scanning and not FLAIR.search(traits.words)
        return "other" if plain and repetition is not None else None
    if echo >= SHORT_ECHO_MS or repetition is None:
        return None
    longest = T1_REPETITION_MS if inversion is None else INVERTED_T1_REPETITION_MS
    fits = repetition <= longest and (inversion is None or inversion <= T1_INVERSION_MS)
    return "t1" if fits else None


def _named(traits: Traits) -> str | None:
    names = f"{traits.words} {traits.sequence}"
    if FLAIR.search(names) and not T1.search(names):
        return "flair"
    if T1.search(names):
        return "t1"
    return "other" if T2.search(names) else None


def choose(found: Sequence[Stack]) -> tuple[dict[Role | None, Choice], list[str]]:
    """The stack of each role; the only stack by None where its role cannot be told. And warnings of the others.

    Raises:
        InvalidParameter: there are several series, and none of them can be told to be of any role.
    """
    candidates: dict[Role, list[Choice]] = {}
    for stack in found:
        role, told_by = role_of(stack.traits)
        if role is not None:
            candidates.setdefault(role, []).append(Choice(stack, told_by))
    if not candidates:
        if len(found) > 1:
            raise InvalidParameter(
                "None of the series tells that it is a FLAIR or a T1 before or after contrast; send each in its field "
                "flair, pre or post."
            )
        return {None: Choice(found[0], "itself, as the only series")}, []
    chosen: dict[Role | None, Choice] = {role: max(of, key=_preference) for role, of in candidates.items()}
    others = len(found) - len(chosen)
    if not others:
        return chosen, []
    return chosen, [
        f"Series that are of no use here, or that a better one of their kind stands for, were left out: {others}."
    ]


def _preference(choice: Choice) -> tuple[bool, bool, int, int]:
    """Original images before derived ones, then what its times tell, the most voxels, and what was made last."""
    frames, rows, columns = choice.stack.shape
    original = "DERIVED" not in choice.stack.traits.image_type
    return original, choice.told_by.startswith(TIMES), frames * rows * columns, choice.stack.first.series_number
