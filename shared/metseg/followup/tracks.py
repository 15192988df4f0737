"""Each lesion over all dates, with its changes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from metseg.contracts import Lesion, LesionState, LesionTrack, TrackMeasurement
from metseg.followup.alignment import Alignment
from metseg.followup.matching import Earlier, Match, match_lesions
from metseg.followup.time_points import TimePoint

__all__ = ["Track", "follow_lesions"]

MIN_VOLUME_CHANGE = 0.25
MIN_DIAMETER_CHANGE_MM = 1.0
"""Of the ball of the lesion's volume. A lesion that changes less is stable: outlines of one lesion differ as much."""


@dataclass(eq=False)
class Track:
    """A lesion while it is followed.

    Attributes:
        number: in the follow-up.
        target: whether its diameter counts now.
        measurements: by study.
        seen: the study that showed it last, and its lesion there.
        present: whether that study is the last one.
        merged_into: the track that it has grown together with.
        split_from: the track that it was a part of.
    """

    number: int
    target: bool
    seen: tuple[int, Lesion]
    measurements: list[TrackMeasurement | None] = field(default_factory=list)
    present: bool = True
    merged_into: "Track | None" = None
    split_from: "Track | None" = None

    def root(self, index: int) -> "Track":
        """The track that this one was a part of at a study: itself, or what it had merged into by then."""
        if self.merged_into is None or (index < len(self.measurements) and self.measurements[index] is not None):
            return self
        return self.merged_into.root(index)

    def to_contract(self) -> LesionTrack:
        """The track as a result reports it."""
        return LesionTrack(
            track=self.number,
            target=any(one is not None and one.target for one in self.measurements),
            label=self.seen[1].label,
            merged_into=None if self.merged_into is None else self.merged_into.number,
            split_from=None if self.split_from is None else self.split_from.number,
            measurements=self.measurements,
        )


def follow_lesions(studies: Sequence[TimePoint], alignments: Sequence[Alignment]) -> list[Track]:
    """Follow each lesion from study to study.

    Args:
        studies: oldest first.
        alignments: of the studies.

    Returns:
        The tracks: those of the first study first, largest first, then each in the order of its appearance.
    """
    tracks = [_begin(number, lesion) for number, lesion in enumerate(studies[0].result.lesions, start=1)]
    for index in range(1, len(studies)):
        _follow(tracks, studies, alignments, index)
    return tracks


def _begin(number: int, lesion: Lesion) -> Track:
    """The track of a lesion of the first study."""
    track = Track(number, lesion.target, (0, lesion))
    track.measurements.append(_measured(lesion, None, target=lesion.target))
    return track


def _follow(tracks: list[Track], studies: Sequence[TimePoint], alignments: Sequence[Alignment], index: int) -> None:
    """Add the measurements of one study to all tracks, and the tracks that begin there."""
    study, lesions = studies[index], {lesion.number: lesion for lesion in studies[index].result.lesions}
    followed = [track for track in tracks if track.merged_into is None]
    earlier = [_earlier(track, studies, alignments) for track in followed]
    before = list(zip(studies[:index], alignments[:index], strict=True))
    match = match_lesions(earlier, before, study, alignments[index])
    _merge(followed, match)
    parts: dict[Track, list[Lesion]] = {}
    for number, row in match.split.items():
        parts.setdefault(followed[row], []).append(lesions[number])
    joined = {followed[row].root(index) for row in match.merged}
    for row, track in enumerate(followed):
        if row in match.same:
            lesion = lesions[match.same[row]]
            track.measurements.append(_continued(track, lesion, parts.get(track, []), followed, joined))
            track.seen, track.present = (index, lesion), True
        elif row not in match.merged:
            track.measurements.append(_absent(track, uncovered=row in match.uncovered))
            track.present = track.present and row in match.uncovered
    for track in tracks:
        track.measurements += [None] * (index + 1 - len(track.measurements))
    old = set(match.same.values())
    tracks += [
        _appeared(len(tracks) + place, lesion, index, match, followed)
        for place, lesion in enumerate((one for one in study.result.lesions if one.number not in old), start=1)
    ]


def _earlier(track: Track, studies: Sequence[TimePoint], alignments: Sequence[Alignment]) -> Earlier:
    index, lesion = track.seen
    study, alignment = studies[index], alignments[index]
    points = alignment.to_first_mm(study.voxels[lesion.number])
    return Earlier(points, study, alignment, lesion.number, track.present)


def _merge(followed: Sequence[Track], match: Match) -> None:
    """End the tracks that have merged into another; what they became counts as a target if any of them did."""
    track_of = {number: followed[row] for row, number in match.same.items()}
    for row, number in match.merged.items():
        followed[row].merged_into = track_of[number]
        track_of[number].target |= followed[row].target


def _continued(
    track: Track, lesion: Lesion, parts: Sequence[Lesion], followed: Sequence[Track], joined: set[Track]
) -> TrackMeasurement:
    """A lesion that was seen before, with what merged into it or split from it."""
    if not track.present:
        return _measured(lesion, "new", target=track.target)
    before = [track.seen[1]] + [one.seen[1] for one in followed if one.merged_into is track]
    old, new = sum(map(_volume, before)), sum(map(_volume, [lesion, *parts]))
    measured = _measured(lesion, "stable", target=track.target)
    changes: dict[str, object] = {
        "volume_change_mm3": new - old,
        "volume_change_percent": _percent(new, old),
        "state": "split" if parts else "merged" if track in joined else _state(old, new),
    }
    if not parts and track not in joined:
        diameter, prior = _diameter(lesion), _diameter(track.seen[1])
        changes |= {"diameter_change_mm": diameter - prior, "diameter_change_percent": _percent(diameter, prior)}
    return measured.model_copy(update=changes)


def _absent(track: Track, *, uncovered: bool) -> TrackMeasurement:
    """A lesion that is not there, or whose place the scan does not show."""
    if uncovered:
        return TrackMeasurement(
            lesion=None, state="uncovered", target=track.target, volume_mm3=None, long_diameter_mm=None
        )
    gone = TrackMeasurement(lesion=None, state="gone", target=track.target, volume_mm3=0, long_diameter_mm=0)
    if not track.present:
        return gone
    volume, diameter = _volume(track.seen[1]), _diameter(track.seen[1])
    return gone.model_copy(
        update={
            "volume_change_mm3": -volume,
            "volume_change_percent": -100.0,
            "diameter_change_mm": -diameter,
            "diameter_change_percent": -100.0,
        }
    )


def _appeared(number: int, lesion: Lesion, index: int, match: Match, followed: Sequence[Track]) -> Track:
    """The track of a lesion that no earlier one is the same as."""
    origin = followed[match.split[lesion.number]] if lesion.number in match.split else None
    target = origin is not None and origin.target
    track = Track(number, target, (index, lesion), split_from=origin)
    state: LesionState = "new"
    if origin is not None:
        state = "split"
    elif lesion.number in match.uncovered_before:
        state = "uncovered"
    track.measurements += [None] * index + [_measured(lesion, state, target=target)]
    return track


def _measured(lesion: Lesion, state: LesionState | None, *, target: bool) -> TrackMeasurement:
    return TrackMeasurement(
        lesion=lesion.number,
        state=state,
        target=target,
        volume_mm3=lesion.volume_mm3,
        long_diameter_mm=lesion.long_diameter_mm,
        centroid_mm=lesion.centroid_mm,
        largest_slice=lesion.largest_slice,
        slices=lesion.box.stop[0] - lesion.box.first[0],
    )


def _state(old_mm3: float, new_mm3: float) -> LesionState:
    """Whether a volume has changed by more than two outlines of one lesion differ."""
    moved_mm = _ball_diameter(new_mm3) - _ball_diameter(old_mm3)
    if abs(new_mm3 - old_mm3) < MIN_VOLUME_CHANGE * old_mm3 or abs(moved_mm) < MIN_DIAMETER_CHANGE_MM:
        return "stable"
    return "grown" if new_mm3 > old_mm3 else "shrunk"


def _ball_diameter(volume_mm3: float) -> float:
    return math.cbrt(6 * volume_mm3 / math.pi)


def _percent(new: float, old: float) -> float | None:
    return None if old == 0 else 100 * (new - old) / old


def _volume(lesion: Lesion) -> float:
    return lesion.volume_mm3 or 0.0


def _diameter(lesion: Lesion) -> float:
    return lesion.long_diameter_mm or 0.0
