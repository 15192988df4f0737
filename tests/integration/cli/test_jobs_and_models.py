"""`metseg jobs` and `metseg models`: tables for people, JSON for programs."""

import io
import json

import pytest
from tests.gateways import begin, png, running
from tests.hospital import started
from tests.models import VERSION, tiny_card, tiny_model

from metseg.cli.main import main
from metseg.contracts import Job, ModelPage, Problem
from metseg.registry import Registry
from metseg.settings import Settings

OTHER = "20260202-000000-tiny"


@pytest.fixture
def gateway(tmp_path, redis):
    settings = Settings(store_directory=tmp_path / "store", redis_url=redis.database(3))
    with running(settings) as gateway:
        registry = Registry(gateway.store)
        for version in (VERSION, OTHER):
            registry.publish(tiny_card(tiny_model(), version), {"model.onnx": tiny_model()})
        registry.promote(VERSION)
        yield gateway


@pytest.fixture
def output(gateway, capsys):
    """The stdout of a command, which must end with `status`."""

    def output(*words, status=0):
        assert main([*words, "--server", gateway.url]) == status, capsys.readouterr().err
        return capsys.readouterr().out

    return output


def failed(gateway):
    job = gateway.accepted()
    begin(gateway.runner, job.id)
    gateway.runner.fail(job.id, Problem(type="/problems/unusable-image", title="T", status=422, detail="All is black."))
    return job.id


def test_jobs_are_listed_newest_first_from_all_pages(gateway, output, monkeypatch):
    monkeypatch.setattr("metseg.cli.jobs.MAX_PAGE", 2)
    ids = [gateway.accepted().id for _ in range(5)]
    head, *lines = output("jobs", "list", "--limit", "4").splitlines()
    assert head.split() == ["JOB", "STATE", "SUBMITTED", "ENDED", "FILES", "MODEL"]
    assert [line.split()[0] for line in lines] == ids[:0:-1]
    assert "queued" in lines[0]
    assert [job["id"] for job in json.loads(output("jobs", "list", "--json"))] == ids[::-1]


def test_a_job_is_shown_with_its_problem(gateway, output):
    job_id = failed(gateway)
    shown = output("jobs", "show", job_id)
    assert job_id in shown
    assert "All is black." in shown
    assert Job.model_validate_json(output("jobs", "show", job_id, "--json")).problem.status == 422


def test_waiting_for_a_job_exits_with_its_outcome(gateway, output):
    output("jobs", "wait", failed(gateway), status=1)


def test_jobs_are_deleted(gateway, output):
    ids = [gateway.accepted().id for _ in range(2)]
    output("jobs", "delete", ids[0])
    output("jobs", "cancel", ids[1])
    assert output("jobs", "list").count("\n") == 1
    output("jobs", "show", ids[0], status=1)


def test_the_champion_is_marked_with_a_star(output):
    lines = output("models", "list").splitlines()[1:]
    assert [line.split()[0] for line in lines if line.startswith("*")] == ["*"]
    assert next(line for line in lines if line.startswith("*")).split()[1] == VERSION
    assert ModelPage.model_validate_json(output("models", "list", "--json")).champion.version == VERSION


def test_a_models_card_is_shown(output):
    shown = output("models", "show", VERSION)
    assert "It knows nothing of lesions." in shown
    assert "0.500 mean" in shown
    assert json.loads(output("models", "show", VERSION, "--json"))["version"] == VERSION
    output("models", "show", "20200101-000000-none", status=1)


def test_promoting_requires_confirmation(gateway, output, monkeypatch):
    output("models", "promote", OTHER, status=2)
    monkeypatch.setattr("sys.stdin", Terminal("no\n"))
    assert "nothing was changed" in output("models", "promote", OTHER, status=1)
    assert Registry(gateway.store).champion().version == VERSION
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    output("models", "promote", OTHER)
    assert Registry(gateway.store).champion().version == OTHER
    output("models", "promote", VERSION, "--yes")
    assert Registry(gateway.store).champion().version == VERSION


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_closed_pipe_is_not_an_error(gateway):
    gateway.accepted(png())
    process = started("jobs", "list", "--server", gateway.url)
    process.stdout.close()
    assert process.wait(120) == 0
    assert process.stderr.read() == ""
    process.stderr.close()
