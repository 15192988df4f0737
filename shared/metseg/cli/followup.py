"""`metseg followup`: compare the studies of a patient."""

import argparse

from metseg.cli.exit_codes import ExitCode
from metseg.cli.output import print_json, print_table
from metseg.cli.segment import open_client
from metseg.client import studies_of_patient
from metseg.contracts import FollowedStudy, FollowUpResult, LesionTrack, TrackMeasurement, is_job_id
from metseg.followup import study_name

__all__ = ["run"]


def run(arguments: argparse.Namespace) -> ExitCode:
    """Compare the studies of a patient, or some jobs."""
    with open_client(arguments) as client:
        jobs = list(arguments.studies)
        if len(jobs) == 1 and not is_job_id(jobs[0]):
            jobs = [job.id for job in studies_of_patient(client.visible_jobs, jobs[0])]
        follow_up_id = client.submit_follow_up(jobs).id
        found = client.wait_for_follow_up(follow_up_id)
        if arguments.report is not None:
            arguments.report.write_bytes(client.follow_up_report(follow_up_id))
        if arguments.sr is not None:
            arguments.sr.write_bytes(client.follow_up_sr(follow_up_id))
    if arguments.json:
        print_json(found)
    else:
        _show(found)
    return ExitCode.DONE


def _show(found: FollowUpResult) -> None:
    dates = [study_name(place, study) for place, study in enumerate(found.studies, start=1)]
    print_table(("LESION", "TARGET", *dates), [_row(track) for track in found.tracks])
    print()
    figures = [
        (date, study.lesions, f"{study.volume_mm3 / 1000:.2f}", _number(study.target_diameter_sum_mm), _response(study))
        for date, study in zip(dates, found.studies, strict=True)
    ]
    print_table(("STUDY", "LESIONS", "ML", "SUM MM", "PROPOSED RESPONSE"), figures)
    for date, study in zip(dates, found.studies, strict=True):
        if study.response is not None:
            print(f"\n{date}: {'; '.join(study.response.reasons)}.")
    last = found.studies[-1].response
    if last is not None:
        print(f"Not known: {'; '.join(last.unknown)}.")
    for warning in found.warnings:
        print(warning)
    print(found.disclaimer)


def _row(track: LesionTrack) -> tuple[object, ...]:
    return track.track, "yes" if track.target else "", *map(_cell, track.measurements)


def _cell(one: TrackMeasurement | None) -> str:
    if one is None:
        return ""
    size = "" if one.lesion is None else f"{_number(one.long_diameter_mm)} mm {(one.volume_mm3 or 0) / 1000:.2f} ml"
    return " ".join(part for part in (size, one.state) if part)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _response(study: FollowedStudy) -> str:
    if study.response is None:
        return ""
    return study.response.response or "not assessable"
