"""A follow-up, from the studies to the result."""

import time
from collections.abc import Callable, Sequence

from metseg.contracts import FollowedStudy, FollowUpResult
from metseg.followup.alignment import Alignment, align, unmoved
from metseg.followup.response import Assessment, assess
from metseg.followup.time_points import TimePoint
from metseg.followup.tracks import follow_lesions

__all__ = ["compare_studies"]

NO_CORE = "No core is known of these studies: FLAIR abnormalities are compared, without target lesions and response."
NO_DATES = "Not all studies have a date, so whether a response has lasted four weeks is not known."
MODELS = "The studies were segmented by different models or thresholds, so a change may be theirs."


def compare_studies(
    studies: Sequence[TimePoint], threads: int = 1, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> FollowUpResult:
    """Follow the lesions of a patient.

    Args:
        studies: two or more that `check_comparable` accepts, oldest first.
        threads: for resampling.
        on_progress: called after each study with the number of studies registered and in all.

    Returns:
        Each lesion over time, the sums, and the proposed responses.

    Raises:
        NotComparable: the heads cannot be registered.
    """
    started = time.perf_counter()
    alignments = [unmoved()]
    for place, study in enumerate(studies[1:], start=2):
        on_progress(place - 1, len(studies))
        alignments.append(align(studies[0], study, place, threads))
    registered = time.perf_counter()
    tracks = follow_lesions(studies, alignments)
    assessed = assess(tracks, [study.taken_on for study in studies], studies[0].result.structure)
    durations = {"register": registered - started, "match": time.perf_counter() - registered}
    return FollowUpResult(
        structure=studies[0].result.structure,
        studies=[_study(*each) for each in zip(studies, alignments, assessed, strict=True)],
        tracks=[track.to_contract() for track in tracks],
        warnings=_warnings(studies, alignments),
        durations_s={phase: round(seconds, 3) for phase, seconds in durations.items()},
    )


def _study(study: TimePoint, alignment: Alignment, assessed: Assessment) -> FollowedStudy:
    result = study.result
    return FollowedStudy(
        job_id=result.job_id,
        taken_on=study.taken_on,
        model_version=result.model_version,
        review=0 if result.review is None else result.review.number,
        registration=alignment.registration,
        lesions=len(result.lesions),
        volume_mm3=sum(lesion.volume_mm3 or 0 for lesion in result.lesions),
        target_diameter_sum_mm=assessed.sum_mm,
        sum_change_from_baseline_percent=assessed.from_baseline_percent,
        sum_nadir_mm=assessed.nadir_mm,
        sum_change_from_nadir_percent=assessed.from_nadir_percent,
        response=assessed.proposal,
    )


def _warnings(studies: Sequence[TimePoint], alignments: Sequence[Alignment]) -> list[str]:
    warnings = [words for alignment in alignments for words in alignment.warnings]
    if studies[0].result.structure != "core":
        warnings.append(NO_CORE)
    if any(study.taken_on is None for study in studies):
        warnings.append(NO_DATES)
    if len({(study.result.model_version, study.result.threshold) for study in studies}) > 1:
        warnings.append(MODELS)
    return warnings
