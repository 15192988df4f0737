"""The stored answer of a model, read for a review; and the files that the store keeps of a review."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import BinaryIO, NamedTuple

import numpy as np

from metseg.contracts import Result, Review, ReviewAgreement, ReviewStamp, Structure
from metseg.formats import StoredSlices
from metseg.imaging import Mask, label_components
from metseg.results.exports import MASK, PROBABILITY, SOURCE_HEADERS, WHOLE_MASK, WHOLE_PROBABILITY
from metseg.results.exports.finished_job import FinishedJob
from metseg.results.mask_artefacts import write_mask_artefacts
from metseg.results.review.apply import ModelAnswer, ReviewedAnswer, apply_review
from metseg.results.review.probability import StoredProbability

__all__ = ["ReviewFiles", "build_review_artefacts", "make_review", "read_model_answer"]

UNNAMED_READER = "Unnamed reader"
"""In DICOM, which needs a name, where the deployment has no keys."""
Open = Callable[[str], AbstractContextManager[BinaryIO]]


class ReviewFiles(NamedTuple):
    """What the store keeps of a review.

    Attributes:
        result: the figures that it leads to.
        artefacts: that replace the model's own, by name.
        agreement: of reader and model.
    """

    result: Result
    artefacts: Mapping[str, bytes]
    agreement: ReviewAgreement


def make_review(job: FinishedJob, review: Review, stamp: ReviewStamp) -> ReviewFiles:
    """Apply a review to a finished job.

    Args:
        job: as the model answered it.
        review: the reader's changes.
        stamp: which review it is.

    Returns:
        Everything that changes with it.

    Raises:
        InvalidParameter: the review refers to voxels outside of the volume, or to a core that is not known.
        ProcessingFailed: an artefact is damaged.
    """
    own = read_model_answer(job.result(), review, job.open_artefact)
    answer = apply_review(own, review, stamp)
    dicom_files, remarks = _dicom_results(job, own, answer)
    warnings = list(dict.fromkeys([*answer.result.warnings, *remarks]))
    result = answer.result.model_copy(update={"dicom": bool(dicom_files), "warnings": warnings})
    return ReviewFiles(result, build_review_artefacts(answer) | dicom_files, answer.agreement)


def _dicom_results(
    job: FinishedJob, own: ModelAnswer, answer: ReviewedAnswer
) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """The reviewed results as DICOM, by name, and warnings; nothing where the model's own answer has none."""
    result = answer.result
    if not result.dicom or result.grid is None:
        return {}, ()
    from metseg.formats import dicom

    with job.open_artefact(SOURCE_HEADERS) as stored:
        origin = dicom.read_source_archive(stored)
    whole = answer.masks["whole"]
    observation = dicom.Observation(
        number=answer.stamp.number,
        reader=answer.stamp.reviewed_by or UNNAMED_READER,
        changed_whole=not np.array_equal(whole, own.masks["whole"]),
    )
    return dicom.write_findings(
        dicom.Placement(origin, result.grid, result.spacing_mm),
        label_components(answer.components, result.shape, np.min_scalar_type(len(result.lesions) + 1)),
        result.lesions,
        dicom.AlgorithmRun(result.network, result.model_version, result.job_id),
        whole if result.structure == "core" else None,
        observation=observation,
    )


def read_model_answer(result: Result, review: Review, open_artefact: Open) -> ModelAnswer:
    """Read what a review needs of a model's stored answer.

    Args:
        result: the model's own.
        review: that will be applied; a probability map is read for a threshold, and of the lesions' structure.
        open_artefact: opens a stored artefact of the model's own answer, by name.

    Returns:
        The answer.

    Raises:
        ProcessingFailed: an artefact is damaged.
    """
    masks: dict[Structure, Mask] = {}
    probabilities: dict[Structure, StoredProbability] = {}
    affine = None
    for structure in result.structures:
        of_lesions = structure == result.structure
        with open_artefact(MASK if of_lesions else WHOLE_MASK) as stream:
            stored = StoredSlices(stream)
            masks[structure], affine = stored.read_all(np.bool_), stored.affine
        if of_lesions or structure in review.thresholds:
            with open_artefact(PROBABILITY if of_lesions else WHOLE_PROBABILITY) as stream:
                probabilities[structure] = StoredProbability.read(stream)
    return ModelAnswer(result, masks, probabilities, affine)


def build_review_artefacts(answer: ReviewedAnswer) -> dict[str, bytes]:
    """Build the files that replace the model's own where the reviewed state is asked for.

    Args:
        answer: the reviewed one.

    Returns:
        Content by the names of `metseg.results.build_artefacts`.
    """
    return write_mask_artefacts(answer.masks, answer.components, answer.result.spacing_mm, answer.affine)
