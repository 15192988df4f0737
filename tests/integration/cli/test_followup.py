"""`metseg followup`: by patient or by jobs, as a table for people or as JSON."""

import json
import threading

import pytest
from tests.followed import AFTER, BEFORE, A, B, C, finish
from tests.servers import wait_until

from metseg.cli.main import main
from metseg_worker.context import open_context
from metseg_worker.tasks import run_job


@pytest.fixture(scope="module")
def visits(gateway):
    first = finish(gateway, [(A, 12.0), (B, 10.0)], BEFORE, patient="p-7", taken_on="2026-01-05")
    finish(gateway, [(A, 17.0)], AFTER, patient="p-7", taken_on="2026-04-06")
    second = finish(gateway, [(A, 18.0), (C, 12.0)], AFTER, patient="p-7", taken_on="2026-04-06")
    finish(gateway, [(A, 18.0)], AFTER, patient="p-8", taken_on="2026-04-06")
    return [first.id, second.id]


@pytest.fixture
def worker(gateway):
    """A worker that takes what is queued, until the test ends."""
    context, stop = open_context(gateway.settings), threading.Event()

    def work():
        while not stop.wait(0.2):
            for info in gateway.store.list("jobs/"):
                job_id = info.key.split("/")[1]
                if job_id[12] == "8" and info.key.endswith("request.json"):
                    run_job(context, job_id)

    thread = threading.Thread(target=work)
    thread.start()
    yield
    stop.set()
    wait_until(lambda: not thread.is_alive(), 60)


def test_the_studies_of_a_patient_are_compared_by_date(gateway, visits, worker, capsys, tmp_path):
    report = tmp_path / "follow-up.html"
    assert main(["followup", "p-7", "--server", gateway.url, "--report", str(report)]) == 0
    assert "Progressive disease" in report.read_text()
    output = capsys.readouterr().out
    head, grown, gone, new = output.splitlines()[:4]
    assert head.split() == ["LESION", "TARGET", "2026-01-05", "2026-04-06"]
    assert (grown.split()[-1], gone.split()[-1], new.split()[-1]) == ("grown", "gone", "new")
    assert "progressive" in output
    assert "Not known: the dose of corticosteroids" in output


def test_jobs_are_compared_as_json(gateway, visits, worker, capsys):
    assert main(["followup", *visits, "--json", "--server", gateway.url]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [study["job_id"] for study in found["studies"]] == visits


def test_one_study_is_too_few(gateway, visits, capsys):
    assert main(["followup", "p-8", "--server", gateway.url]) == 1
    assert "fewer than two studies" in capsys.readouterr().err


def test_jobs_that_cannot_be_compared_are_refused_in_one_line(gateway, visits, capsys):
    assert main(["followup", *visits[::-1], "--server", gateway.url]) == 1
    assert "order of their dates" in capsys.readouterr().err


def test_the_date_of_several_studies_is_no_one_date(gateway, tmp_path, capsys):
    for name in ("one.png", "two.png"):
        (tmp_path / name).write_bytes(b"")
    words = ["segment", str(tmp_path / "one.png"), str(tmp_path / "two.png"), "--out", str(tmp_path / "out")]
    assert main([*words, "--taken-on", "2026-01-05", "--server", gateway.url]) == 2
    assert "--taken-on is of one study" in capsys.readouterr().err
