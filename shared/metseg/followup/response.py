"""Response as RANO-BM defines it (Lin et al., Lancet Oncol 2015;16:e270-8).

- Progressive: the sum of the target lesions' long diameters is 20% or more above its nadir, the smallest sum before,
  and at least one target lesion is 5 mm or more longer than it was then; or there is a new lesion; or non-target
  lesions unequivocally progress, which a reader decides.
- Complete: no lesion is left, neither target nor non-target. Partial: the sum is 30% or more below that of the
  baseline. Both have to last four weeks.
- Stable: none of these.

Steroids and clinical status decide too; nothing here knows them. The paper leaves it open when a new lesion is
unequivocal and calls small size a reason for doubt: here it counts from 5 mm in two slices on, and a smaller one is
reported as a doubt. A lesion is new where the baseline did not show it, however long ago it appeared.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

from metseg.contracts import Response, ResponseProposal, Structure
from metseg.followup.tracks import Track

__all__ = ["Assessment", "assess"]

PROGRESSION = 0.20
PARTIAL_RESPONSE = 0.30
MIN_GROWTH_MM = 5.0
MIN_NEW_MM = 5.0
LASTING = timedelta(weeks=4)
ROUNDING = 1e-9
NO_SUM = "the first study has no target lesion, of 10 mm and more, so there is no sum to follow"
UNKNOWN = (
    "the dose of corticosteroids",
    "the clinical status",
    "whether treatment is immunotherapy, under which a new lesion alone is no progression",
)


@dataclass(frozen=True)
class Assessment:
    """The sums of one date, and the response that follows.

    Attributes:
        sum_mm: of the target lesions; None without targets, or where one is not covered.
        nadir_mm: the smallest sum before.
        from_baseline_percent: change of the sum.
        from_nadir_percent: the same from the nadir.
        proposal: None of the first date.
    """

    sum_mm: float | None
    nadir_mm: float | None = None
    from_baseline_percent: float | None = None
    from_nadir_percent: float | None = None
    proposal: ResponseProposal | None = None


def assess(tracks: Sequence[Track], dates: Sequence[date | None], structure: Structure) -> list[Assessment]:
    """Propose the response at each date.

    Args:
        tracks: as from `follow_lesions`.
        dates: of the studies, where known.
        structure: what the lesions are components of; RANO-BM measures the core alone.

    Returns:
        One assessment per study.
    """
    sums = [_sum_mm(tracks, index) for index in range(len(dates))]
    found = [Assessment(sums[0])]
    for index in range(1, len(dates)):
        if structure != "core":
            found.append(Assessment(None, proposal=_not_measured()))
            continue
        figures = _figures(sums, index)
        found.append(replace(figures, proposal=_propose(tracks, figures, index, sums)))
    return [_confirmed(found, dates, index) for index in range(len(dates))]


def _figures(sums: Sequence[float | None], index: int) -> Assessment:
    """The sum, its nadir, and its changes, without a proposal."""
    now, baseline = sums[index], sums[0]
    nadir = min((one for one in sums[:index] if one is not None), default=None)
    return Assessment(now, nadir, _change(now, baseline), _change(now, nadir))


def _change(now: float | None, before: float | None) -> float | None:
    return None if now is None or not before else 100 * (now - before) / before


def _sum_mm(tracks: Sequence[Track], index: int) -> float | None:
    """The sum of target diameters at a date."""
    measured = [one for track in tracks if (one := track.measurements[index]) is not None]
    lengths = [one.long_diameter_mm for one in measured if one.target]
    known = [length for length in lengths if length is not None]
    return sum(known) if lengths and len(known) == len(lengths) else None


def _propose(
    tracks: Sequence[Track], figures: Assessment, index: int, sums: Sequence[float | None]
) -> ResponseProposal:
    now, nadir = figures.sum_mm, figures.nadir_mm
    new, doubtful = _new_lesions(tracks, index)
    unknown = [*UNKNOWN, *_non_targets(tracks, index), *_doubts(doubtful, index), *_unseen_before(tracks, index)]
    reasons = [f"new since the first study: {_names(new, index)}"] if new else []
    progressive = bool(new)
    if now is None:
        reasons.append(NO_SUM if sums[0] is None else "the place of a target lesion is not in this scan")
    else:
        reasons.append(_sum_words(now, figures))
        if nadir is not None and now > nadir and now >= (1 + PROGRESSION) * nadir - ROUNDING:
            growth = _largest_growth_mm(tracks, sums.index(nadir), index)
            progressive |= growth >= MIN_GROWTH_MM - ROUNDING
            reasons.append(f"the target lesion that grew most is {growth:.1f} mm longer than at the smallest sum")
    response: Response | None = "progressive" if progressive else None
    if response is None and now is not None:
        response = _without_progression(tracks, index, figures.from_baseline_percent)
    return ResponseProposal(response=response, reasons=reasons, unknown=unknown)


def _doubts(doubtful: Sequence[Track], index: int) -> list[str]:
    if not doubtful:
        return []
    return [f"whether {_names(doubtful, index)}, small and not in the first study, is new: that would be progression"]


def _without_progression(tracks: Sequence[Track], index: int, from_baseline: float | None) -> Response:
    left = [one for track in tracks if (one := track.measurements[index]) is not None and one.state != "gone"]
    if not left:
        return "complete"
    if from_baseline is not None and from_baseline <= -100 * PARTIAL_RESPONSE + ROUNDING:
        return "partial"
    return "stable"


def _sum_words(now: float, figures: Assessment) -> str:
    nadir, from_baseline, from_nadir = figures.nadir_mm, figures.from_baseline_percent, figures.from_nadir_percent
    words = f"sum of target diameters {now:.1f} mm"
    if from_baseline is not None:
        words += f", {from_baseline:+.0f}% from the first study"
    if nadir is not None and from_nadir is not None:
        words += f", {from_nadir:+.0f}% from the smallest sum before, {nadir:.1f} mm"
    return words


def _new_lesions(tracks: Sequence[Track], index: int) -> tuple[list[Track], list[Track]]:
    """Lesions that the first study did not show: those of no doubt because of their size, and the others."""
    certain: list[Track] = []
    doubtful: list[Track] = []
    for track in tracks:
        now = track.measurements[index]
        if now is not None and now.lesion is not None and _is_new(track, index):
            is_certain = (now.long_diameter_mm or 0) >= MIN_NEW_MM and now.slices > 1
            (certain if is_certain else doubtful).append(track)
    return certain, doubtful


def _is_new(track: Track, index: int) -> bool:
    """Whether it appeared, or came back, after the first study, and not as a part of a lesion that was there."""
    return any(one is not None and one.state == "new" for one in track.measurements[1 : index + 1])


def _unseen_before(tracks: Sequence[Track], index: int) -> list[str]:
    """Lesions in places that no earlier scan shows."""
    found = [
        track
        for track in tracks
        if (one := track.measurements[index]) is not None and one.lesion is not None and one.state == "uncovered"
    ]
    return [f"whether {_names(found, index)} is new, since no earlier scan shows the place"] if found else []


def _non_targets(tracks: Sequence[Track], index: int) -> list[str]:
    """What a reader has to judge of the non-target lesions."""
    grown = [
        track
        for track in tracks
        if (one := track.measurements[index]) is not None and not one.target and one.state in ("grown", "merged")
    ]
    if not grown:
        return []
    return [f"whether the growth of non-target {_names(grown, index)} is unequivocal progression"]


def _names(tracks: Sequence[Track], index: int) -> str:
    return ", ".join(f"lesion {track.number} ({_length_mm(track, index):.1f} mm)" for track in tracks)


def _length_mm(track: Track, index: int) -> float:
    one = track.measurements[index]
    return (one.long_diameter_mm or 0.0) if one is not None else 0.0


def _largest_growth_mm(tracks: Sequence[Track], at_nadir: int, index: int) -> float:
    """How much longer the target lesion that grew most is than at the nadir; what merged or split counts together."""
    growth: dict[Track, float] = {}
    for track in tracks:
        for place, sign in ((index, 1), (at_nadir, -1)):
            one = track.measurements[place]
            if one is not None and one.target:
                family = _family(track, index)
                growth[family] = growth.get(family, 0.0) + sign * (one.long_diameter_mm or 0.0)
    return max(growth.values(), default=0.0)


def _family(track: Track, index: int) -> Track:
    """The track that stands for all that merged with it or was split from it by a study."""
    track = track.root(index)
    return track if track.split_from is None else _family(track.split_from, index)


def _not_measured() -> ResponseProposal:
    return ResponseProposal(
        response=None,
        reasons=["no core is known, and RANO-BM measures enhancing tumour, not FLAIR abnormalities"],
        unknown=list(UNKNOWN),
    )


def _confirmed(found: Sequence[Assessment], dates: Sequence[date | None], index: int) -> Assessment:
    """The assessment, with whether a complete or partial response has lasted."""
    proposal = found[index].proposal
    if proposal is None or proposal.response not in ("complete", "partial"):
        return found[index]
    as_good = ("complete",) if proposal.response == "complete" else ("complete", "partial")
    since = index
    while (before := found[since - 1].proposal) is not None and before.response in as_good:
        since -= 1
    first, last = dates[since], dates[index]
    lasted = None if first is None or last is None else last - first >= LASTING
    return replace(found[index], proposal=proposal.model_copy(update={"confirmed": lasted}))
