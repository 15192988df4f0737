"""`metseg jobs`: list, show, wait for and delete a server's jobs."""

import argparse
from collections.abc import Iterator
from itertools import islice

from metseg.cli.exits import Exit
from metseg.cli.segment import client
from metseg.cli.tables import moment, print_json, print_table
from metseg.client import Client
from metseg.contracts import Job, JobStatus

__all__ = ["delete", "jobs", "show", "wait"]

PAGE = 100


def jobs(options: argparse.Namespace) -> Exit:
    """List the newest jobs."""
    with client(options) as server:
        found = list(islice(_pages(server, options.limit), options.limit))
    if options.json:
        print_json(found)
    else:
        print_table(
            ("JOB", "STATE", "SUBMITTED", "ENDED", "FILES", "MODEL"),
            [(job.id, _state(job), moment(job.created_at), moment(job.finished_at), job.files, job.model_version or "")
             for job in found],
        )  # fmt: skip
    return Exit.DONE


def _pages(server: Client, wanted: int) -> Iterator[Job]:
    cursor = None
    while True:
        page = server.jobs(min(wanted, PAGE), cursor)
        yield from page.jobs
        cursor = page.next
        if cursor is None:
            return


def _state(job: Job) -> str:
    if job.progress is not None:
        return f"{job.status} {job.progress.done}/{job.progress.total}"
    return f"{job.status} {job.queue_position}." if job.queue_position else str(job.status)


def show(options: argparse.Namespace) -> Exit:
    """One job."""
    with client(options) as server:
        _show(server.job(options.job), options.json)
    return Exit.DONE


def wait(options: argparse.Namespace) -> Exit:
    """One job once it has ended; 1 where it has no result."""
    with client(options) as server:
        job = server.wait(options.job)
    _show(job, options.json)
    return Exit.DONE if job.status is JobStatus.SUCCEEDED else Exit.FAILED


def _show(job: Job, as_json: bool) -> None:
    if as_json:
        print_json(job)
        return
    rows: list[tuple[str, object]] = [("job", job.id), ("state", _state(job)), ("files", job.files)]
    rows += [
        ("submitted", moment(job.created_at)),
        ("begun", moment(job.started_at)),
        ("ended", moment(job.finished_at)),
    ]
    rows += [("model", job.model_version or ""), ("problem", job.problem.detail if job.problem else "")]
    for name, value in rows:
        if value != "":
            print(f"{name:<10} {value}")


def delete(options: argparse.Namespace) -> Exit:
    """Cancel jobs that wait or run; delete their input and results."""
    with client(options) as server:
        for job in options.jobs:
            server.delete(job)
            print(f"{job}: deleted")
    return Exit.DONE
