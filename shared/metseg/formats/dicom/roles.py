"""Which series becomes which sequence: one for each role, or an error if the headers are ambiguous."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from metseg.contracts import IdentifiedBy, Role
from metseg.errors import AmbiguousSeries, SeriesCandidate, UnusableImage
from metseg.formats.dicom.acquisition import Acquisition
from metseg.formats.dicom.evidence import IN_PHASE, WATER, Evidence, weigh
from metseg.formats.dicom.stacks import Stack
from metseg.imaging import ROLES, SEQUENCE_NAMES, slice_plane

__all__ = ["Candidate", "ChosenStack", "choose_for_field", "choose_stacks", "role_of_acquisition"]

MAX_NAMED = 12
"""Series that a question lists; more would not be read."""
HOW_TO_NAME = "Send each in its field: pre, flair or post."
PARTIAL = ("REFORMATTED", "MPR", "RESAMPLED", "DERIVED")
AGENT = "its contrast agent"


class ChosenStack(NamedTuple):
    """A stack that becomes a channel, how its role was found, in words, and what decided it: None for no role."""

    stack: Stack
    role_source: str
    identified_by: IdentifiedBy | None


class Candidate(NamedTuple):
    """A stack and what is known of it."""

    stack: Stack
    evidence: Evidence

    @property
    def name(self) -> str:
        """By number and description."""
        return f"series {self.stack.first.series_number} ({self.description})"

    @property
    def description(self) -> str:
        """By kind, plane, size and times, without free text."""
        frames, rows, columns = self.stack.shape
        acquisition = self.stack.acquisition
        plane = "" if self.stack.affine is None else f" {slice_plane(self.stack.affine)},"
        times = (("TR", acquisition.repetition_ms), ("TE", acquisition.echo_ms), ("TI", acquisition.inversion_ms))
        timing = "".join(f", {name} {value:g} ms" for name, value in times if value)
        size = f"{frames} slices of {rows} x {columns}"
        return f"{self._kind},{plane} {size}{timing}"

    @property
    def fields(self) -> tuple[Role, ...]:
        """Those that it may belong in."""
        possible = (self.evidence.weighting,) if self.evidence.weighting else self.evidence.possible
        by_contrast: dict[bool | None, tuple[Role, ...]] = {True: ("post",), False: ("pre",), None: ("pre", "post")}
        found = (by_contrast[self.evidence.contrast] if "t1" in possible else ()) + (
            ("flair",) if "flair" in possible else ()
        )
        return tuple(role for role in ROLES if role in found)

    @property
    def _kind(self) -> str:
        names = {"t1": "T1", "flair": "FLAIR", "other": self.evidence.kind or "another sequence"}
        return names[self.evidence.weighting] if self.evidence.weighting else "unknown sequence"


def role_of_acquisition(acquisition: Acquisition) -> tuple[Role | None, str]:
    """The role of a series on its own and how it was found; None where it is another sequence, or unknown."""
    evidence = weigh(acquisition)
    if evidence.weighting == "flair":
        return "flair", evidence.source
    if evidence.weighting != "t1":
        return None, ""
    return ("post", f"{evidence.source} and {AGENT}") if evidence.contrast else ("pre", evidence.source)


def choose_stacks(stacks: Sequence[Stack]) -> tuple[dict[Role | None, ChosenStack], list[str]]:
    """Choose a stack for each role.

    Returns:
        The stacks by role, a single one of unknown role by None; and warnings of the others.

    Raises:
        AmbiguousSeries: several series could be one sequence, or none is recognised.
        UnusableImage: all series are recognised as sequences that the model does not use.
    """
    candidates = _weigh_all(stacks)
    usable = [each for each in candidates if each.evidence.weighting != "other"]
    if not usable:
        raise _refuse_all(candidates)
    recognised = [each for each in usable if each.evidence.weighting is not None]
    unknown = [each for each in usable if each.evidence.weighting is None]
    if not recognised:
        if len(unknown) > 1:
            raise _ask("No series is recognised as FLAIR or T1", unknown, HOW_TO_NAME)
        alone = ChosenStack(unknown[0].stack, "itself, as the only series", None)
        return {None: alone}, list(_left_out(candidates, unknown))
    by_role, warnings = _assign(recognised)
    _refuse_doubtful(by_role, unknown)
    chosen = {role: _preferred(role, by_role[role], warnings) for role in ROLES if by_role.get(role)}
    warnings += _left_out(candidates, [each for role in ROLES for each in by_role[role]])
    return {
        role: ChosenStack(each.stack, _role_source(role, each), "header") for role, each in chosen.items()
    }, warnings


def choose_for_field(role: Role, stacks: Sequence[Stack]) -> ChosenStack:
    """The one stack of a field, or the one of several that has the field's role.

    Args:
        role: of the field.
        stacks: of its files.

    Returns:
        The stack.

    Raises:
        AmbiguousSeries: none or several of them have the role.
    """
    candidates = _weigh_all(stacks)
    matching = candidates
    if len(stacks) > 1:
        matching = [each for each in candidates if role_of_acquisition(each.stack.acquisition)[0] == role]
    if len(matching) != 1:
        raise _ask(
            f"The field {role} holds several series, and not exactly one is recognised as {SEQUENCE_NAMES[role]}",
            candidates,
            "Send one series in each field.",
        )
    return ChosenStack(matching[0].stack, "its field", "stated")


def _weigh_all(stacks: Sequence[Stack]) -> list[Candidate]:
    """The stacks with their evidence; a protocol that several series share names the examination, and is ignored."""
    series = {(stack.acquisition.protocol, stack.first.series_number, stack.first.series) for stack in stacks}
    uses = Counter(protocol for protocol, _, _ in series)
    found = []
    for stack in stacks:
        acquisition = stack.acquisition
        if uses[acquisition.protocol] > 1:
            acquisition = acquisition._replace(protocol="")
        found.append(Candidate(stack, weigh(acquisition)))
    return found


def _assign(candidates: Sequence[Candidate]) -> tuple[dict[Role, list[Candidate]], list[str]]:
    """The candidates of each role, and warnings of what was assumed.

    Raises:
        AmbiguousSeries: some T1 do not say whether contrast was given, and no other is known to be with contrast.
    """
    t1 = [each for each in candidates if each.evidence.weighting == "t1"]
    known: dict[bool | None, list[Candidate]] = {
        contrast: [each for each in t1 if each.evidence.contrast is contrast] for contrast in (True, False, None)
    }
    roles: dict[Role, list[Candidate]] = {
        "pre": known[False],
        "flair": [each for each in candidates if each.evidence.weighting == "flair"],
        "post": known[True],
    }
    silent, warnings = known[None], []
    if silent and not known[True]:
        if len(_acquisitions([*silent, *known[False]])) > 1 or any(each.evidence.is_contradictory for each in silent):
            raise _ask(
                "It is not clear which T1 series is before and which after contrast",
                [*known[False], *silent],
                HOW_TO_NAME,
            )
        warnings.append(
            f"The T1 series {silent[0].stack.first.series_number} does not say whether a contrast agent was given, and "
            "was read as pre-contrast. If it is after contrast, send it in the field post."
        )
    if not known[False]:
        roles["pre"] = silent
    return roles, warnings


def _acquisitions(candidates: Sequence[Candidate]) -> set[tuple[int, str]]:
    """The acquired series; reformats and members of one family do not count again."""
    scanned = [each for each in candidates if "DERIVED" not in each.stack.acquisition.image_type] or candidates
    return {(each.stack.first.series_number, each.stack.first.series) for each in scanned}


def _refuse_doubtful(by_role: Mapping[Role, Sequence[Candidate]], unknown: Sequence[Candidate]) -> None:
    """Refuse studies in which an unidentified series could be a missing sequence.

    Raises:
        AmbiguousSeries: one could.
    """
    missing = {"flair"} if not by_role["flair"] else set()
    missing |= {"t1"} if not by_role["pre"] and not by_role["post"] else set()
    doubtful = [each for each in unknown if missing.intersection(each.evidence.possible)]
    if doubtful:
        known = [each for role in ROLES for each in by_role[role]]
        raise _ask("It is not clear which sequence each series is", [*doubtful, *known], HOW_TO_NAME)


def _preferred(role: Role, candidates: Sequence[Candidate], warnings: list[str]) -> Candidate:
    """The best of the candidates of one role, with a warning of the others."""
    best = max(candidates, key=_preference)
    others = sorted({each.stack.first.series_number for each in candidates if each is not best})
    if others:
        warnings.append(
            f"Several series are {SEQUENCE_NAMES[role]}: series {best.stack.first.series_number} was used and not "
            f"{', '.join(map(str, others))}. To use another, send it in the field {role}."
        )
    return best


def _preference(candidate: Candidate) -> tuple[bool, bool, int, int, int]:
    """Images as scanned before reformats, tissue in phase before water, certain, with most voxels, and latest."""
    stack = candidate.stack
    image_type = stack.acquisition.image_type
    frames, rows, columns = stack.shape
    clear = candidate.evidence.scores[candidate.evidence.weighting or "other"] > 4
    return (
        not image_type.intersection(PARTIAL) or bool(image_type & IN_PHASE),
        not image_type & WATER,
        clear,
        frames * rows * columns,
        stack.first.series_number,
    )


def _role_source(role: Role, candidate: Candidate) -> str:
    agent = f" and {AGENT}" if role == "post" else ""
    return f"{candidate.evidence.source}{agent}"


def _refuse_all(candidates: Sequence[Candidate]) -> UnusableImage:
    return UnusableImage(
        f"No series is a FLAIR or a T1 of the head: {_names(candidates)}. If one is, send it in its field: "
        "pre, flair or post."
    )


def _left_out(candidates: Sequence[Candidate], considered: Sequence[Candidate]) -> Iterator[str]:
    """One sentence on the series that have no role."""
    others = [each for each in candidates if each not in considered]
    if others:
        yield f"Series that the model does not use were left out: {_names(others)}."


def _ask(doubt: str, candidates: Sequence[Candidate], what_to_do: str) -> AmbiguousSeries:
    series = [
        SeriesCandidate(
            each.stack.first.series_number,
            each.description,
            len({id(member.instance) for member in each.stack.members}),
            each.fields,
        )
        for each in candidates[:MAX_NAMED]
    ]
    return AmbiguousSeries(f"{doubt}: {_names(candidates)}. {what_to_do}", series)


def _names(candidates: Sequence[Candidate]) -> str:
    names = list(dict.fromkeys(each.name for each in candidates))
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return "; ".join(names[:MAX_NAMED]) + more
