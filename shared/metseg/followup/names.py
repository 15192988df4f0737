"""What people call the studies and the responses of a follow-up."""

from collections.abc import Mapping

from metseg.contracts import FollowedStudy

__all__ = ["RESPONSE_NAMES", "study_name"]

RESPONSE_NAMES: Mapping[str | None, str] = {
    "complete": "Complete response",
    "partial": "Partial response",
    "stable": "Stable disease",
    "progressive": "Progressive disease",
    None: "Not assessable",
}


def study_name(place: int, study: FollowedStudy) -> str:
    """What a study is called: its date, or its place where that is unknown.

    Args:
        place: in the follow-up, from 1.
        study: the study.

    Returns:
        As "2026-01-31" or "study 2".
    """
    return f"study {place}" if study.taken_on is None else study.taken_on.isoformat()
