"""Where a lesion is in each study of a follow-up, or where it would be."""

import numpy as np

from metseg.contracts import FollowedStudy, FollowUpResult, LesionTrack
from metseg.imaging import Affine, map_points

__all__ = ["locate_lesion", "motion_between"]


def locate_lesion(result: FollowUpResult, place: int, track: LesionTrack) -> tuple[float, float, float]:
    """Where a lesion is in a study, or would be: by the nearest date that shows it, through the registration.

    Args:
        result: of the follow-up.
        place: of the study, from 0.
        track: the lesion.

    Returns:
        RAS+ millimetres of that study.
    """
    seen = {
        index: one.centroid_mm
        for index, one in enumerate(track.measurements)
        if one is not None and one.centroid_mm is not None
    }
    nearest = min(seen, key=lambda index: (abs(index - place), index > place))
    x, y, z = map_points(motion_between(result, nearest, place), np.array([seen[nearest]]))[0].tolist()
    return x, y, z


def motion_between(result: FollowUpResult, start: int, stop: int) -> Affine:
    """The motion of the head from one study to another.

    Args:
        result: of the follow-up.
        start: place of the one study, from 0.
        stop: place of the other.

    Returns:
        (4, 4), from RAS+ millimetres of the one to those of the other.
    """
    motion: Affine = _from_first(result.studies[stop]) @ np.linalg.inv(_from_first(result.studies[start]))
    return motion


def _from_first(study: FollowedStudy) -> Affine:
    return np.eye(4) if study.registration is None else np.array(study.registration.from_first)
