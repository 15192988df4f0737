"""`metseg watch`: no arriving study is lost by an outage, a restart or a kill, and none is processed twice."""

import contextlib
import signal
import time
from pathlib import Path

import pytest
from tests.gateways import begin
from tests.hospital import hospital, started, study
from tests.integration.studies import phantom_files
from tests.models import tiny_card, tiny_model
from tests.servers import free_ports, wait_until

from metseg.cli.main import main
from metseg.contracts import JobStatus, Problem, Result
from metseg.errors import StoreUnavailable

END_S = 90.0
HASTE = ("--quiet", "0.3", "--poll", "0.1", "--formats", "nifti")


@pytest.fixture
def server(tmp_path, redis):
    with hospital(tmp_path / "server", redis.database(3)) as server:
        yield server


@pytest.fixture
def inbox(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@contextlib.contextmanager
def watching(inbox: Path, out: Path, url: str, *options: str):
    """A watch in a separate process, ended by SIGTERM."""
    process = started("watch", inbox, out, *HASTE, "--server", url, *options)
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=90)
        assert process.returncode == 0, errors
        assert "stopped" in output
    finally:
        process.kill()
        process.communicate()


def once(inbox, out, server, *options):
    return main(["watch", str(inbox), str(out), *HASTE, "--once", "--server", server.url, *options])


def results(out):
    return sorted(path.parent.name for path in out.glob("*/result.json"))


def test_an_arriving_study_is_segmented_and_moved(server, inbox, out):
    with watching(inbox, out, server.url):
        study(inbox / "patient-1")
        (inbox / "single.png").write_bytes(next(iter(phantom_files(1).values())))
        wait_until(lambda: results(out) == ["patient-1", "single"] and len(list(inbox.glob("done/*"))) == 2, END_S)
    assert sorted(path.name for path in inbox.iterdir()) == ["done"]
    assert sorted(path.name for path in (inbox / "done/patient-1").iterdir()) == ["DOE-JOHN_0.png", "DOE-JOHN_1.png"]


def test_its_output_contains_no_name(server, inbox, out, capsys):
    study(inbox / "DOE-JOHN")
    (inbox / "ROE-JANE.png").write_bytes(b"this is no picture")
    assert once(inbox, out, server) == 1
    output = "".join(capsys.readouterr())
    assert "DOE" not in output
    assert "ROE" not in output
    assert server.jobs()[0].id in output


def test_a_failed_study_is_set_aside_with_its_reason(server, inbox, out):
    (inbox / "bad.png").write_bytes(b"this is no picture")
    study(inbox / "good")
    assert once(inbox, out, server) == 1
    reason = (inbox / "failed/bad.png.reason.txt").read_text()
    assert reason.strip()
    assert (inbox / "failed/bad.png").read_bytes() == b"this is no picture"
    assert results(out) == ["good"]
    assert once(inbox, out, server) == 0, "nothing is left to do"


def test_a_job_that_fails_on_the_server_has_its_reason(server, inbox, out):
    study(inbox / "patient")
    server.hold.set()
    with watching(inbox, out, server.url):
        wait_until(lambda: len(server.jobs()) == 1, END_S)
        [job] = server.jobs()
        begin(server.gateway.runner, job.id)
        problem = Problem(type="/problems/unusable-image", title="T", status=422, detail="All is black.")
        server.gateway.runner.fail(job.id, problem)
        wait_until((inbox / "failed/patient").is_dir, END_S)
    assert (inbox / "failed/patient.reason.txt").read_text() == "All is black.\n"


def test_a_new_study_with_an_old_name_gets_its_own_folder(server, inbox, out):
    study(inbox / "patient", seed=1)
    assert once(inbox, out, server) == 0
    study(inbox / "patient", seed=2)
    assert once(inbox, out, server) == 0
    assert results(out) == ["patient", "patient-2"]
    assert sorted(path.name for path in (inbox / "done").iterdir()) == ["patient", "patient-2"]


def test_a_study_that_arrives_twice_is_submitted_once(server, inbox, out):
    for _ in range(2):
        study(inbox / "patient")
        assert once(inbox, out, server) == 0
    assert results(out) == ["patient"]
    assert len(server.jobs()) == 1


def test_a_killed_watch_loses_and_repeats_nothing(server, inbox, out):
    for number in range(3):
        study(inbox / f"patient-{number}", seed=number)
    server.hold.set()
    process = started("watch", inbox, out, *HASTE, "--server", server.url)
    wait_until(lambda: len(server.jobs()) == 2, END_S)
    process.kill()
    process.communicate()
    server.hold.clear()
    assert once(inbox, out, server) == 0
    assert results(out) == [f"patient-{number}" for number in range(3)]
    assert len(server.jobs()) == 3


def test_a_watch_killed_before_the_move_only_moves(server, inbox, out):
    study(inbox / "patient")
    assert once(inbox, out, server, "--keep") == 0
    assert (inbox / "patient").is_dir()
    assert once(inbox, out, server) == 0
    assert (inbox / "done/patient").is_dir()
    assert len(server.jobs()) == 1


def test_an_unavailable_server_is_waited_for(inbox, out, tmp_path, redis):
    [port] = free_ports(1)
    study(inbox / "patient")
    with watching(inbox, out, f"http://127.0.0.1:{port}") as process:
        wait_until((out / "patient/job.json").exists, END_S)  # it has tried once
        assert (inbox / "patient").is_dir()
        assert process.poll() is None
    assert not list(inbox.glob("failed/*"))
    with hospital(tmp_path / "server", redis.database(3)) as server:
        assert once(inbox, out, server) == 0
    assert results(out) == ["patient"]


def test_pauses_grow_to_a_bound_and_end_with_the_first_success(monkeypatch, server, inbox, out, capsys):
    monkeypatch.setattr("metseg.cli.watch.MIN_PAUSE_S", 0.01)
    monkeypatch.setattr("metseg.cli.watch.MAX_PAUSE_S", 0.04)
    monkeypatch.setattr("metseg.client.connection.MAX_PAUSE_S", 0.01)
    study(inbox / "patient")
    real, calls = server.gateway.store.put, []

    def put(*arguments, **options):
        calls.append(arguments)
        if len(calls) <= 40:  # each attempt writes a state, and a mark where it is deleted again
            raise StoreUnavailable("The store is away; try again later.")
        return real(*arguments, **options)

    monkeypatch.setattr(server.gateway.store, "put", put)
    assert once(inbox, out, server) == 0
    assert capsys.readouterr().out.count("waiting") >= 4


def test_a_refused_key_ends_the_watch_with_its_own_status(tmp_path, redis, inbox, out, capsys):
    keys = tmp_path / "keys.json"
    keys.write_text('[{"name": "ward", "sha256": "%s", "scopes": ["read"]}]' % ("0" * 64))
    study(inbox / "patient")
    redis_url = redis.database(3)
    with hospital(tmp_path / "server", redis_url, api_keys_file=keys) as server:
        assert once(inbox, out, server) == 4
    assert (inbox / "patient").is_dir()


def test_a_study_that_arrives_during_segmentation_is_processed(server, inbox, out):
    study(inbox / "patient", slices=1)
    server.hold.set()
    with watching(inbox, out, server.url):
        wait_until(lambda: len(server.jobs()) == 1, END_S)
        (inbox / "patient/DOE-JOHN_1.png").write_bytes(phantom_files(2, size_px=64)["DOE-JOHN_1.png"])
        server.hold.clear()
        wait_until((inbox / "done/patient").is_dir, END_S)
    shapes = [Result.model_validate_json(path.read_bytes()).shape[0] for path in sorted(out.glob("*/result.json"))]
    assert shapes == [1, 2]


def test_only_marked_studies_are_processed_and_the_marker_is_not_sent(server, inbox, out):
    study(inbox / "patient")
    options = ("--marker", "READY")
    process = started("watch", inbox, out, *HASTE, "--server", server.url, *options)
    try:
        time.sleep(3)
        assert server.jobs() == []
        (inbox / "patient/READY").touch()
        wait_until((inbox / "done/patient").is_dir, END_S)
    finally:
        process.terminate()
        process.communicate(timeout=90)
    assert server.jobs()[0].files == 2


def test_sigterm_ends_a_waiting_watch_and_the_next_one_resumes_its_job(server, inbox, out):
    study(inbox / "patient")
    server.hold.set()
    with watching(inbox, out, server.url):
        wait_until(lambda: len(server.jobs()) == 1, END_S)
    assert server.jobs()[0].status is JobStatus.QUEUED
    server.hold.clear()
    assert once(inbox, out, server) == 0
    assert len(server.jobs()) == 1


def test_a_local_watch_needs_no_server(inbox, out, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model/model.onnx").write_bytes(tiny_model())
    (tmp_path / "model/card.json").write_text(tiny_card(tiny_model()).model_dump_json())
    study(inbox / "patient")
    local = ["--local", "--model-dir", str(tmp_path / "model")]
    assert main(["watch", str(inbox), str(out), *HASTE, "--once", *local]) == 0
    assert (inbox / "done/patient").is_dir()


@pytest.mark.parametrize(("folder", "results_in"), [("nothing", "out"), ("in", "in/out"), ("in", "in")])
def test_impossible_folders_are_explained(tmp_path, inbox, capsys, folder, results_in):
    assert main(["watch", str(tmp_path / folder), str(tmp_path / results_in)]) == 2
    assert "folder" in capsys.readouterr().err
