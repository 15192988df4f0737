"""The report of a follow-up: table, chart, and pictures of each target lesion at each date, to print on A4."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, NamedTuple

import numpy as np

from metseg.contracts import FollowUpResult, LesionTrack, Result, TrackMeasurement
from metseg.followup.chart import draw_chart
from metseg.followup.names import RESPONSE_NAMES, study_name
from metseg.followup.places import locate_lesion
from metseg.formats import StoredSlices
from metseg.imaging import Affine, Mask, UInt8Array, canonical_affine, decode_channel, map_points
from metseg.results import exports
from metseg.results.exports import FinishedJob

__all__ = ["FinishedFollowUp", "render_follow_up_report"]

MAX_ROWS = 20
MAX_PICTURED = 5
"""Lesions with pictures; RANO-BM has five targets at most."""
SIDE_MM = 60
SIDE_PX = 300
LINE_PX = 2
COLORS = ("#c2410c", "#0369a1", "#a16207", "#7e22ce", "#15803d", "#be185d", "#b45309", "#475569")


@dataclass(frozen=True, eq=False)
class FinishedFollowUp:
    """A follow-up that has succeeded, with its studies as they were compared.

    Attributes:
        follow_up_id: of the follow-up.
        finished_at: None if unknown.
        result: of the follow-up.
        studies: oldest first.
    """

    follow_up_id: str
    finished_at: datetime | None
    result: FollowUpResult
    studies: Sequence[FinishedJob]


class Picture(NamedTuple):
    """A lesion at one date; `source` is empty where the scan does not show its place."""

    name: str
    source: str
    slice_number: int
    measured: TrackMeasurement | None


class Row(NamedTuple):
    """A lesion at all dates."""

    track: LesionTrack
    pictures: Sequence[Picture]


def render_follow_up_report(follow_up: FinishedFollowUp, target: BinaryIO) -> None:
    """Write the report as one HTML file in UTF-8 that embeds its pictures and loads nothing else.

    Args:
        follow_up: what is reported.
        target: where the page is written.
    """
    result = follow_up.result
    names = [study_name(place, study) for place, study in enumerate(result.studies, start=1)]
    shown = _important(result.tracks)
    first = follow_up.studies[0].result()
    text = exports.render_page(
        "follow_up_page.html.j2",
        follow_up_id=follow_up.follow_up_id,
        finished_at=follow_up.finished_at,
        result=result,
        names=names,
        finding=first.finding,
        findings=first.findings,
        responses=RESPONSE_NAMES,
        tracks=shown,
        more=len(result.tracks) - len(shown),
        chart=draw_chart(names, [study.taken_on for study in result.studies], shown),
        pictures=_rows(follow_up, names),
        colors=COLORS,
        side_mm=SIDE_MM,
    )
    target.write(text.encode())


def _important(tracks: Sequence[LesionTrack]) -> list[LesionTrack]:
    """The tracks that are listed, by number: the targets, and as many of the others as there is room for."""
    kept = sorted(tracks, key=lambda track: (not track.target, track.track))[:MAX_ROWS]
    return sorted(kept, key=lambda track: track.track)


def _rows(follow_up: FinishedFollowUp, names: Sequence[str]) -> list[Row]:
    """The pictures of the target lesions; without targets, of the first lesions."""
    tracks = follow_up.result.tracks
    chosen = ([track for track in tracks if track.target] or list(tracks))[:MAX_PICTURED]
    columns = [_pictures(follow_up, place, names[place], chosen) for place in range(len(names))]
    return [Row(track, [column[index] for column in columns]) for index, track in enumerate(chosen)]


def _pictures(follow_up: FinishedFollowUp, place: int, name: str, tracks: Sequence[LesionTrack]) -> list[Picture]:
    """The lesions in one study; its mask is read once, forwards."""
    job = follow_up.studies[place]
    result = job.result()
    voxels = [_voxel(follow_up.result, place, track, result) for track in tracks]
    inside = [0 <= slice_ < result.shape[0] for slice_, _, _ in voxels]
    wanted = sorted({voxel[0] for voxel, is_inside in zip(voxels, inside, strict=True) if is_inside})
    with job.open_artefact(exports.MASK) as stored:
        mask = StoredSlices(stored)
        marked = {index: mask.read(index) > 0 for index in wanted}
    return [
        Picture(
            name,
            exports.embed_picture(_crop(job, result, voxel, marked[voxel[0]])) if is_inside else "",
            voxel[0] + 1,
            track.measurements[place],
        )
        for track, voxel, is_inside in zip(tracks, voxels, inside, strict=True)
    ]


def _voxel(followed: FollowUpResult, place: int, track: LesionTrack, result: Result) -> tuple[int, int, int]:
    """The slice, row and column of a lesion's middle: in the slice in which it is largest, where it is there."""
    if result.grid is None:
        raise ValueError("a study of a follow-up has a position")
    affine = canonical_affine(result.grid, np.array(result.grid.affine))
    inverse: Affine = np.linalg.inv(affine).astype(np.float64)
    centre = np.array([locate_lesion(followed, place, track)])
    column, row, slice_ = np.rint(map_points(inverse, centre)[0]).astype(int).tolist()
    one = track.measurements[place]
    return slice_ if one is None or one.largest_slice is None else one.largest_slice, row, column


def _crop(job: FinishedJob, result: Result, voxel: tuple[int, int, int], mask: Mask) -> UInt8Array:
    """A square of a slice around a lesion, with its outlines."""
    grey = decode_channel(job.slice_png(voxel[0]), mask.shape, exports.outlined_channel(result.structure))
    spacing = result.spacing_mm or (1.0, 1.0, 1.0)
    window = tuple(
        _window(middle, SIDE_MM / step, size)
        for middle, step, size in zip(voxel[1:], spacing[1:], mask.shape, strict=True)
    )
    return exports.outline_slice(grey[window], mask[window], spacing, SIDE_PX, LINE_PX)


def _window(middle: int, length: float, size: int) -> slice:
    """So many pixels around the middle, or the whole side where it is shorter."""
    count = min(round(length), size)
    start = min(max(middle - count // 2, 0), size - count)
    return slice(start, start + count)
