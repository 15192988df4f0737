"""Lesions over time: matched one to one, with what is new, gone, merged and split."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from tests.visits import Scanner, scan, time_point

from metseg.followup.alignment import Alignment, unmoved
from metseg.followup.tracks import follow_lesions

SMALL = (100.0, 120.0, 120.0)
PLAIN = Scanner(spacing_mm=(1.0, 1.0, 1.0), size_mm=SMALL)
A, B, C = (20.0, 10.0, 5.0), (-20.0, -10.0, -10.0), (0.0, 30.0, 20.0)


def _follow(*courses, scanners=None, errors=None):
    """The tracks of lesions at several dates, with the registration known up to an error."""
    scanners = scanners or [PLAIN] * len(courses)
    studies = [time_point(scan(balls, scanner)) for balls, scanner in zip(courses, scanners, strict=True)]
    motions = [scanner.motion @ np.linalg.inv(scanners[0].motion) for scanner in scanners]
    errors = errors or [np.eye(4)] * len(courses)
    alignments = [Alignment(error @ motion) for motion, error in zip(motions, errors, strict=True)]
    alignments[0] = unmoved()
    return [track.to_contract() for track in follow_lesions(studies, alignments)]


def _states(tracks):
    return [[one.state if one else None for one in track.measurements[1:]] for track in tracks]


def test_lesions_grow_shrink_and_stay():
    tracks = _follow([(A, 14), (B, 12), (C, 10)], [(A, 18), (B, 8), (C, 10)])
    assert _states(tracks) == [["grown"], ["shrunk"], ["stable"]]
    grown = tracks[0].measurements[1]
    assert grown.volume_change_percent == pytest.approx(100 * ((18 / 14) ** 3 - 1), rel=0.1)
    assert grown.diameter_change_mm == pytest.approx(4, abs=0.5)
    assert tracks[1].measurements[1].volume_change_percent == pytest.approx(100 * ((8 / 12) ** 3 - 1), rel=0.1)


def test_lesions_vanish_appear_and_return():
    tracks = _follow([(A, 12)], [(B, 8)], [(A, 9), (B, 8)])
    assert _states(tracks) == [["gone", "new"], ["new", "stable"]]
    gone = tracks[0].measurements[1]
    assert (gone.lesion, gone.volume_mm3, gone.volume_change_percent) == (None, 0, -100)


def test_what_grows_together_merges_and_its_changes_are_those_of_both():
    one, other = (0.0, 0.0, 0.0), (14.0, 0.0, 0.0)
    tracks = _follow([(one, 12), (other, 10)], [(one, 16), (other, 14)], [(one, 17), (other, 14)])
    assert _states(tracks) == [["merged", "stable"], [None, None]]
    assert tracks[1].merged_into == 1
    both = np.pi / 6 * (12**3 + 10**3)
    assert tracks[0].measurements[1].volume_change_mm3 == pytest.approx(
        tracks[0].measurements[1].volume_mm3 - both, rel=0.1
    )
    assert tracks[0].measurements[1].diameter_change_mm is None


def test_what_falls_apart_is_split_and_stays_a_target():
    one, other = (0.0, 0.0, 0.0), (12.0, 0.0, 0.0)
    tracks = _follow([(one, 14), (other, 12)], [(one, 9), (other, 8)])
    assert _states(tracks) == [["split"], ["split"]]
    assert (tracks[1].split_from, tracks[1].target) == (1, True)
    assert tracks[0].measurements[1].volume_change_percent < -50


def test_a_place_outside_of_a_scan_is_no_place_without_a_lesion():
    high = (0.0, 0.0, 30.0)
    tracks = _follow(
        [(high, 10), (A, 10)],
        [(A, 10)],
        [(high, 10), (A, 10)],
        scanners=[PLAIN, replace(PLAIN, shift_mm=(0, 0, 40)), PLAIN],
    )
    of_high = next(track for track in tracks if track.measurements[0].centroid_mm[2] > 20)
    assert [one.state for one in of_high.measurements[1:]] == ["uncovered", "stable"]
    assert of_high.measurements[1].volume_mm3 is None


def test_a_lesion_that_earlier_scans_did_not_cover_is_not_called_new():
    high = (0.0, 0.0, 30.0)
    narrow = replace(PLAIN, shift_mm=(0, 0, 40))
    tracks = _follow([(A, 10)], [(high, 10), (A, 10)], scanners=[narrow, PLAIN])
    assert [track.measurements[1].state for track in tracks] == ["stable", "uncovered"]


def _course(rng):
    """Random lesions apart from each other at two dates, and which of them are there."""
    centres: list[np.ndarray] = []
    while len(centres) < 8:
        at = rng.uniform((-45, -45, -35), (45, 45, 35))
        if all(np.linalg.norm(at - one) > 18 for one in centres):
            centres.append(at)
    first, second = [], []
    for at in centres:
        size, factor = rng.uniform(3.2, 12), rng.uniform(0.7, 1.3)
        fate = rng.choice(["both", "both", "both", "gone", "new"])
        later = max(3.2, min(size * factor, 13))
        if fate != "new":
            first.append((tuple(at), size))
        if fate != "gone":
            second.append((tuple(at), later))
    return first, second


def _error(rng):
    """A registration that is wrong by a millimetre and half a degree."""
    error = np.eye(4)
    axis = rng.normal(size=3)
    error[:3, :3] = Rotation.from_rotvec(np.radians(0.5) * axis / np.linalg.norm(axis)).as_matrix()
    shift = rng.normal(size=3)
    error[:3, 3] = shift / np.linalg.norm(shift)
    return error


@pytest.mark.slow
@pytest.mark.parametrize(
    "second", [PLAIN, replace(PLAIN, spacing_mm=(3.0, 0.9, 0.9), turn_degrees=(6, -4, 9), shift_mm=(3, -4, 2))]
)
def test_98_percent_of_lesions_above_3_mm_are_matched_right_by_a_registration_1_mm_off(second):
    rng = np.random.default_rng(7)
    right = asked = 0
    off = []
    for _ in range(8):
        before, after = _course(rng)
        tracks = _follow(before, after, scanners=[PLAIN, second], errors=[np.eye(4), _error(rng)])
        there = [_truth(track, before, after, second) for track in tracks]
        right += sum(one for one, _ in there)
        asked += len({at for at, _ in before} | {at for at, _ in after})
        off += [change for _, change in there if change is not None]
    assert right >= 0.98 * asked
    assert np.median(np.abs(off)) < 0.1


def _truth(track, before, after, scanner):
    """Whether a track joins what is one lesion, and the relative error of the ratio of its volumes."""
    first, second = track.measurements
    diameters = []
    for one, balls, motion in ((first, before, np.eye(4)), (second, after, scanner.motion)):
        at = None if one is None or one.centroid_mm is None else np.linalg.solve(motion, [*one.centroid_mm, 1])[:3]
        near = [ball for ball in balls if at is not None and np.linalg.norm(at - ball[0]) < 3]
        diameters.append(near[0] if near else None)
    one, other = diameters
    if one is None:
        return second.state == "new" and other[0] not in {at for at, _ in before}, None
    if other is None:
        return second.state == "gone" and one[0] not in {at for at, _ in after}, None
    ratio = second.volume_mm3 / first.volume_mm3 / (other[1] / one[1]) ** 3
    return one[0] == other[0], ratio - 1 if min(one[1], other[1]) > 6 else None
