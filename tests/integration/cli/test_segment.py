"""`metseg segment`: many studies, each submitted once, despite failures."""

import json
import shutil
import signal
import threading

import pytest
from tests.gateways import begin
from tests.hospital import hospital, started, study
from tests.models import VERSION
from tests.servers import free_ports, wait_until
from tests.stored_results import stored_artefact

from metseg.cli.backend import ServerBackend
from metseg.cli.formats import DEFAULT
from metseg.cli.main import main
from metseg.cli.run_state import RunState
from metseg.client import Client, open_study, study_digest
from metseg.contracts import JobStatus, Problem, Result
from metseg.results.exports import EXPORTS

END_S = 90.0
FORMATS = [
    export.name
    for export in EXPORTS.values()
    if not export.needs_dicom
    and export.structure not in {"core", "labels"}
    and export.name not in {"probability-png", "uncertainty-png"}
]
"""All formats that a study of several images can have."""


@pytest.fixture
def server(tmp_path, redis):
    redis_url = redis.database(3)
    with hospital(tmp_path / "server", redis_url) as server:
        yield server


@pytest.fixture
def studies(tmp_path):
    return [study(tmp_path / "in" / f"patient-{number}", seed=number) for number in range(3)]


def run(server, *arguments):
    return main(["segment", *map(str, arguments), "--server", server.url])


def test_each_study_has_its_own_results_folder(server, studies, tmp_path, capsys):
    assert run(server, *studies, "--out", tmp_path / "out", "--formats", ",".join(FORMATS), "--uncertainty") == 0
    for path in studies:
        folder = tmp_path / "out" / path.name
        result = Result.model_validate_json((folder / "result.json").read_bytes())
        stored = stored_artefact(server.gateway.jobs, result.job_id, "whole.nii.gz")
        assert (folder / "mask.nii.gz").read_bytes() == stored
        assert {each.name for each in folder.iterdir()} == {
            *(EXPORTS[name].file_name for name in FORMATS), "result.json", "job.json",
        }  # fmt: skip
    lines = capsys.readouterr().out.splitlines()
    assert sorted(line.split(":")[0] for line in lines) == [path.name for path in studies]


def test_options_reach_the_server(server, studies, tmp_path):
    assert run(server, studies[0], "--out", tmp_path / "plain", "--formats", "csv") == 0
    wishes = ["--align", "none", "--uncertainty", "--sequence", "post"]
    assert run(server, studies[0], "--out", tmp_path / "wished", "--formats", "csv,uncertainty", *wishes) == 0
    asked = {}
    for out in ("plain", "wished"):
        job = RunState.read(tmp_path / out / "patient-0").job_id
        request = json.loads(server.gateway.store.get(f"jobs/{job}/request.json"))
        asked[out] = (request["align"], request["uncertainty"], request["sequence"])
    assert asked == {"plain": ("rigid", False, "auto"), "wished": ("none", True, "post")}
    assert (tmp_path / "wished/patient-0/uncertainty.nii.gz").read_bytes()
    result = Result.model_validate_json((tmp_path / "wished/patient-0/result.json").read_bytes())
    assert result.uncertainty_words


def test_changed_options_are_a_new_submission(server, studies, tmp_path, capsys):
    assert run(server, studies[0], "--out", tmp_path / "out") == 0
    assert run(server, studies[0], "--out", tmp_path / "out", "--align", "none") == 0
    assert run(server, studies[0], "--out", tmp_path / "out", "--align", "none") == 0
    assert capsys.readouterr().out.count("(done before)") == 1
    assert len(server.jobs()) == 2


def test_a_map_that_is_not_made_cannot_be_requested(server, studies, tmp_path, capsys):
    assert run(server, studies[0], "--out", tmp_path / "out", "--formats", "uncertainty") == 2
    assert "--uncertainty" in capsys.readouterr().err


def test_each_option_changes_the_idempotency_key():
    state = RunState(study_sha256="a", threshold=0.4, model=None, server="http://s")
    changes = [{}, {"align": "none"}, {"uncertainty": True}, {"deidentify": True}, {"threshold": 0.5}, {"attempt": 2}]
    changes += [{"sequence": "post"}]
    assert len({state.model_copy(update=change).idempotency_key for change in changes}) == len(changes)


def test_a_second_run_submits_nothing_and_fetches_only_new_formats(server, studies, tmp_path, capsys):
    assert run(server, *studies, "--out", tmp_path / "out", "--formats", "nifti") == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*/mask.nii.gz")}
    assert run(server, *studies, "--out", tmp_path / "out", "--formats", "nifti") == 0
    assert capsys.readouterr().out.count("(done before)") == 3
    assert run(server, *studies, "--out", tmp_path / "out", "--formats", "csv") == 0
    assert len(list((tmp_path / "out").glob("*/lesions.csv"))) == 3
    assert len(server.jobs()) == 3
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_study_that_changed_is_segmented_again(server, studies, tmp_path):
    assert run(server, studies[0], "--out", tmp_path / "out") == 0
    shutil.rmtree(studies[0])
    study(studies[0], seed=77)
    assert run(server, studies[0], "--out", tmp_path / "out") == 0
    assert len(server.jobs()) == 2


def test_a_bad_study_fails_alone_with_the_servers_message(server, studies, tmp_path, capsys):
    (studies[1] / "DOE-JOHN_0.png").write_bytes(b"this is no picture")
    assert run(server, *studies, "--out", tmp_path / "out") == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("metseg: patient-1: ")
    record = RunState.read(tmp_path / "out/patient-1")
    assert (record.state, record.problem.type) == ("failed", "/problems/unsupported-format")
    assert len(list((tmp_path / "out").glob("*/result.json"))) == 2


def test_the_next_run_retries_a_failed_job(server, studies, tmp_path, capsys):
    server.hold.set()
    process = started("segment", studies[0], "--out", tmp_path / "out", "--server", server.url)
    wait_until(lambda: len(server.jobs()) == 1, END_S)
    [job] = server.jobs()
    begin(server.gateway.runner, job.id)
    server.gateway.runner.fail(job.id, problem_of("unusable-image"))
    _, errors = process.communicate(timeout=END_S)
    assert (process.returncode, "All is black." in errors) == (1, True)
    server.hold.clear()
    assert run(server, studies[0], "--out", tmp_path / "out") == 0
    assert [job.status for job in server.jobs()] == [JobStatus.SUCCEEDED, JobStatus.FAILED]


def problem_of(kind):
    return Problem(type=f"/problems/{kind}", title="T", status=422, detail="All is black.")


def test_a_failed_job_missing_from_the_run_state_is_submitted_again(server, studies, tmp_path):
    server.hold.set()
    with Client(server.url) as client, open_study(studies[0]) as files:
        record = RunState(study_sha256=study_digest(files), server=server.url)
        job = client.submit(files, idempotency_key=record.idempotency_key)
    begin(server.gateway.runner, job.id)
    server.gateway.runner.fail(job.id, problem_of("unusable-image"))
    server.hold.clear()
    assert run(server, studies[0], "--out", tmp_path / "out") == 0


def test_a_run_killed_at_any_moment_submits_each_study_once(server, studies, tmp_path):
    """A run is killed whenever a new file of any kind appears."""
    out = tmp_path / "out"
    arguments = ("segment", *studies, "--out", out, "--server", server.url, "--parallel", "2")

    def files():
        return len([path for path in out.rglob("*") if path.is_file()]) if out.exists() else 0

    server.hold.set()
    process = started(*arguments)
    wait_until(lambda: len(server.jobs()) == 2, END_S)
    process.kill()
    process.communicate()
    server.hold.clear()
    for _ in range(2):
        process, before = started(*arguments), files()
        wait_until(lambda: files() > before + 2 or process.poll() is not None, END_S)  # noqa: B023
        process.kill()
        process.communicate()
    process = started(*arguments)
    _, errors = process.communicate(timeout=END_S)
    assert process.returncode == 0, errors
    assert len(server.jobs()) == 3
    for path in studies:
        record = RunState.read(out / path.name)
        assert (record.state, record.attempt) == ("done", 1)
    assert not list(out.rglob(".~*"))


def test_a_lost_answer_creates_no_second_job(server, studies):
    """The run dies after the server accepted and before it recorded the job's id."""
    with Client(server.url) as client, open_study(studies[0]) as files:
        kept = []

        def keep():
            kept.append(record.model_copy())
            if len(kept) == 2:
                raise KeyboardInterrupt

        record = RunState(study_sha256=study_digest(files), server=server.url)
        with pytest.raises(KeyboardInterrupt):
            ServerBackend(client, 1, threading.Event()).segment(files, record, keep, lambda share: None)
        record = kept[0]
        assert record.job_id is None
        ServerBackend(client, 1, threading.Event()).segment(files, record, lambda: None, lambda share: None)
    assert len(server.jobs()) == 1


def test_a_deleted_job_is_submitted_again(server, studies, tmp_path):
    out = tmp_path / "out"
    assert run(server, studies[0], "--out", out, "--formats", "nifti") == 0
    server.gateway.jobs.delete(server.jobs()[0].id)
    assert run(server, studies[0], "--out", out, "--formats", "nifti,csv") == 0
    assert RunState.read(out / "patient-0").attempt == 2
    assert (out / "patient-0/lesions.csv").is_file()


def test_sigint_ends_a_run_at_once_and_the_next_run_resumes(server, studies, tmp_path):
    server.hold.set()
    arguments = ("segment", *studies, "--out", tmp_path / "out", "--server", server.url)
    process = started(*arguments)
    wait_until(lambda: len(server.jobs()) == 2, END_S)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=90)
    assert (process.returncode, errors) == (130, "metseg: stopped; run the same command to continue.\n")
    server.hold.clear()
    assert run(server, *studies, "--out", tmp_path / "out") == 0
    assert len(server.jobs()) == 3


def test_an_unavailable_server_has_its_own_exit_status(studies, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("metseg.client.connection.MAX_PAUSE_S", 0.01)
    [port] = free_ports(1)
    assert main(["segment", *map(str, studies), "--out", str(tmp_path), "--server", f"http://127.0.0.1:{port}"]) == 3
    assert "does not answer" in capsys.readouterr().err
    assert not list(tmp_path.glob("*/result.json"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--formats", "gif"], "There is no format gif"),
        (["--formats", ","], "No format was named"),
        (["--threshold", "2"], "--threshold"),
        (["--parallel", "0"], "--parallel"),
        (["--local"], "--model-dir"),
        (["--model-dir", "x"], "--local"),
        (["--key-file", "nowhere"], "nowhere"),
    ],
)
def test_an_impossible_command_line_is_explained(studies, tmp_path, capsys, arguments, words):
    assert main(["segment", str(studies[0]), "--out", str(tmp_path / "out"), *arguments]) == 2
    assert words in capsys.readouterr().err


def test_a_missing_study_is_a_usage_error(tmp_path, capsys):
    assert main(["segment", str(tmp_path / "nothing"), "--out", str(tmp_path / "out")]) == 2
    assert "no file or folder" in capsys.readouterr().err


def test_two_runs_do_not_share_a_folder(server, studies, tmp_path, capsys):
    server.hold.set()
    process = started("segment", studies[0], "--out", tmp_path / "out", "--server", server.url)
    wait_until(lambda: len(server.jobs()) == 1, END_S)
    assert run(server, studies[1], "--out", tmp_path / "out") == 1
    assert "Another metseg writes into" in capsys.readouterr().err
    server.hold.clear()
    process.communicate(timeout=END_S)
    assert process.returncode == 0


def test_the_library_segments_a_path(server, studies):
    seen = []
    with Client(server.url) as client:
        result = client.segment(studies[0], model=VERSION, progress=seen.append)
        assert client.report(result.job_id).startswith(b"<!DOCTYPE html>")
        assert client.lesions(result.job_id, "json").startswith(b"{")
        assert client.animation(result.job_id).startswith(b"RIFF")
    assert seen[-1].status is JobStatus.SUCCEEDED


def test_the_default_formats_exist():
    assert set(DEFAULT.split(",")) <= set(EXPORTS)
