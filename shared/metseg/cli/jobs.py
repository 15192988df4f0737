"""`metseg jobs`: list, show, wait for and delete a server's jobs."""

import argparse
from functools import partial
from itertools import islice

from metseg.cli.exit_codes import ExitCode
from metseg.cli.output import format_time, print_json, print_table
from metseg.cli.segment import open_client
from metseg.client import MAX_PAGE, all_jobs
from metseg.contracts import Job, JobStatus

__all__ = ["delete", "list_jobs", "show", "wait"]


def list_jobs(arguments: argparse.Namespace) -> ExitCode:
    """List the newest jobs."""
    with open_client(arguments) as client:
        read_page = partial(client.jobs, everyone=arguments.everyone)
        found = list(islice(all_jobs(read_page, min(arguments.limit, MAX_PAGE)), arguments.limit))
    if arguments.json:
        print_json(found)
    else:
        print_table(("JOB", "STATE", "SUBMITTED", "ENDED", "FILES", "MODEL"), list(map(_row, found)))
    return ExitCode.DONE


def _row(job: Job) -> tuple[object, ...]:
    submitted, ended = format_time(job.created_at), format_time(job.finished_at)
    return job.id, _state(job), submitted, ended, job.files, job.model_version or ""


def _state(job: Job) -> str:
    if job.progress is not None:
        return f"{job.status} {job.progress.done}/{job.progress.total}"
    return f"{job.status} {job.queue_position}." if job.queue_position else str(job.status)


def show(arguments: argparse.Namespace) -> ExitCode:
    """Show one job."""
    with open_client(arguments) as client:
        _show(client.job(arguments.job), arguments.json)
    return ExitCode.DONE


def wait(arguments: argparse.Namespace) -> ExitCode:
    """Wait for a job to end, and show it; exit code 1 if it has no result."""
    with open_client(arguments) as client:
        job = client.wait(arguments.job)
    _show(job, arguments.json)
    return ExitCode.DONE if job.status is JobStatus.SUCCEEDED else ExitCode.FAILED


def _show(job: Job, as_json: bool) -> None:
    if as_json:
        print_json(job)
        return
    rows: list[tuple[str, object]] = [("job", job.id), ("state", _state(job)), ("files", job.files)]
    rows += [
        ("submitted", format_time(job.created_at)),
        ("started", format_time(job.started_at)),
        ("ended", format_time(job.finished_at)),
    ]
    rows += [("model", job.model_version or ""), ("problem", job.problem.detail if job.problem else "")]
    for name, value in rows:
        if value != "":
            print(f"{name:<10} {value}")


def delete(arguments: argparse.Namespace) -> ExitCode:
    """Cancel jobs that wait or run; delete their inputs and results."""
    with open_client(arguments) as client:
        for job in arguments.jobs:
            client.delete(job)
            print(f"{job}: deleted")
    return ExitCode.DONE
