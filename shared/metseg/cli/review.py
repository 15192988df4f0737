"""`metseg review`: show, replace and withdraw the review of a job."""

import argparse

from pydantic import ValidationError

from metseg.cli.exit_codes import ExitCode, UsageError
from metseg.cli.output import format_time, print_json, print_table
from metseg.cli.segment import open_client
from metseg.client import collect_reviewed
from metseg.contracts import LesionDecision, Result, Review, ReviewRecord

__all__ = ["apply", "collect", "history", "reject", "show", "withdraw"]


def show(arguments: argparse.Namespace) -> ExitCode:
    """Show the review in force."""
    with open_client(arguments) as client:
        _show([client.review(arguments.job)], as_json=arguments.json)
    return ExitCode.DONE


def history(arguments: argparse.Namespace) -> ExitCode:
    """Show all reviews of a job, newest first."""
    with open_client(arguments) as client:
        found = client.reviews(arguments.job)
    if arguments.json:
        print_json(found)
    else:
        _show(found.reviews, as_json=False)
    return ExitCode.DONE


def apply(arguments: argparse.Namespace) -> ExitCode:
    """Replace the review by one in a file."""
    try:
        review = Review.model_validate_json(arguments.file.read_bytes())
    except OSError as error:
        raise UsageError(f"{arguments.file} cannot be read.") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise UsageError(f"{arguments.file} is no review: {place}: {first['msg']}.") from error
    with open_client(arguments) as client:
        current = client.review(arguments.job)
        _show([client.put_review(arguments.job, review, current.number)], as_json=arguments.json)
    return ExitCode.DONE


def reject(arguments: argparse.Namespace) -> ExitCode:
    """Reject lesions in addition to what is reviewed already."""
    with open_client(arguments) as client:
        current, result = client.review(arguments.job), client.result(arguments.job)
        if (result.review.number if result.review else 0) != (current.number if current.review else 0):
            raise UsageError("The job was reviewed at the same moment; look at its lesions again.")
        review = _with_rejected(current.review or Review(), result, arguments.lesions)
        _show([client.put_review(arguments.job, review, current.number)], as_json=arguments.json)
    return ExitCode.DONE


def withdraw(arguments: argparse.Namespace) -> ExitCode:
    """Return to the model's own answer."""
    with open_client(arguments) as client:
        current = client.review(arguments.job)
        _show([client.withdraw_review(arguments.job, current.number)], as_json=arguments.json)
    return ExitCode.DONE


def collect(arguments: argparse.Namespace) -> ExitCode:
    """Download the reviewed studies that may be used for training, as a folder for the trainer."""
    with open_client(arguments) as client:
        for study in collect_reviewed(client, arguments.folder):
            print(f"{study.job_id}: {study.folder or f'left out, {study.reason}'}")
    return ExitCode.DONE


def _with_rejected(review: Review, result: Result, numbers: list[int]) -> Review:
    """The review with further lesions rejected, whatever it decided about them before."""
    peaks = {lesion.number: lesion.peak for lesion in result.lesions}
    unknown = [number for number in numbers if number not in peaks]
    if unknown:
        raise UsageError(f"The result has no {result.finding} {unknown[0]}; it has {len(peaks)}.")
    rejected = [LesionDecision(voxel=peaks[number], decision="reject") for number in numbers]
    places = {each.voxel for each in rejected}
    kept = [each for each in review.lesions if each.voxel not in places]
    return review.model_copy(update={"lesions": [*kept, *rejected]})


def _show(records: list[ReviewRecord], *, as_json: bool) -> None:
    if as_json:
        print_json(records[0])
        return
    print_table(("REVIEW", "BY", "TIME", "REJECTED", "ADDED", "DICE"), list(map(_row, records)))


def _row(record: ReviewRecord) -> tuple[object, ...]:
    head = record.number, record.reviewed_by or "", format_time(record.reviewed_at)
    agreement = record.agreement
    if agreement is None:
        return *head, "the model's own answer", "", ""
    dice = ", ".join(f"{structure} {value:.3f}" for structure, value in agreement.dice.items())
    return *head, agreement.lesions_rejected, agreement.lesions_added, dice
