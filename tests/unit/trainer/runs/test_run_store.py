"""Listing and comparing runs, from a folder and from the store."""

import json

import pytest

from metseg.errors import DatasetError, StoreUnavailable
from metseg.settings import Settings
from metseg.storage import open_store
from metseg_trainer.runs import run_store


@pytest.fixture
def store(tmp_path):
    store = open_store(Settings(store_directory=tmp_path / "store"))
    store.prepare(job_days=7)
    return store


@pytest.fixture
def run(tmp_path):
    def make(name: str, when: str = "2026-11-24T00:00:00", split_by: str = "patient", **dice: float):
        folder = tmp_path / "runs" / name
        (folder / "attention-unet").mkdir(parents=True)
        measure = {"mean_interval": {"low": 0.5, "high": 0.75}}
        row = {"title": "Attention U-Net", "mean": 0.625, "evaluation": {"measures": {"dice": measure}}}
        results = {"created_at": when, "preset": "quick", "split_by": split_by, "networks": [row]}
        (folder / "results.json").write_text(json.dumps(results))
        suffix = "/test" if split_by == "slice" else ""
        patients = {"attention-unet": {f"{id}{suffix}": {"dice": score} for id, score in dice.items()}}
        (folder / run_store.PATIENTS).write_text(json.dumps(patients))
        (folder / "attention-unet" / "curves.json").write_text("[]")
        (folder / "attention-unet" / "last.ckpt").write_bytes(b"weights")
        (folder / "attention-unet" / "events.out.tfevents.1.HOST.2").write_bytes(b"events")
        return folder

    return make


@pytest.fixture
def said(monkeypatch):
    """The warnings, independent of other tests' logging configuration."""
    heard = []
    monkeypatch.setattr(run_store.log, "warning", lambda words, *values: heard.append(words % values))
    return heard


def test_a_runs_records_are_stored_without_weights_or_samples(store, run):
    folder = run("Run one", a=0.5)
    (folder / "prepared" / "whole").mkdir(parents=True)
    (folder / "prepared" / "whole" / "index.json").write_text("[]")
    run_store.upload_run(folder, store)
    assert {info.key for info in store.list("runs/")} == {
        "runs/run-one/results.json",
        "runs/run-one/patients.json",
        "runs/run-one/attention-unet/curves.json",
        "runs/run-one/attention-unet/events.out.tfevents.1.host.2",
    }
    assert [one.name for one in run_store.list_runs(folder.parent, store)] == ["run-one"]


def test_a_training_continues_while_the_store_is_unavailable(tmp_path, run, said):
    folder = run("one", a=0.5)
    away = open_store(Settings(store_directory=tmp_path / "unmounted"))
    run_store.upload_progress(folder, None)
    assert said == []
    run_store.upload_progress(folder, away)
    assert [words.partition(":")[0] for words in said] == ["The record of run one could not be uploaded"]
    with pytest.raises(StoreUnavailable):
        run_store.upload_run(folder, away)


def test_runs_in_folder_and_store_are_listed_once_in_order(tmp_path, store, run):
    run_store.upload_run(run("late", when="2026-11-25T00:00:00", a=0.5), store)
    run("early", a=0.5)
    run_store.upload_run(run("elsewhere", when="2026-11-24T12:00:00", a=0.5), store)
    for path in sorted((tmp_path / "runs" / "elsewhere").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    listed = run_store.list_runs(tmp_path / "runs", store)
    assert [one.name for one in listed] == ["early", "elsewhere", "late"]
    assert [one.name for one in run_store.list_runs(tmp_path / "runs", None)] == ["early", "late"]
    table = run_store.format_runs(listed).splitlines()
    assert len(table) == 4
    assert table[1].startswith("early")
    assert "0.625 (0.500 to 0.750)" in table[1]


def test_runs_are_compared_on_their_common_test_patients(tmp_path, run):
    run("one", a=0.5, b=0.6, c=0.7)
    run("two", when="2026-11-25T00:00:00", b=0.6, c=0.9, d=0.1)
    words = run_store.compare_runs(*run_store.list_runs(tmp_path / "runs", None))
    assert "2 patients" in words
    assert "-0.100 (one less two)" in words


def test_splits_by_slice_and_by_patient_are_compared_on_common_test_patients(tmp_path, run):
    run("honest", a=0.5, b=0.6)
    run("leaky", when="2026-11-25T00:00:00", split_by="slice", a=0.7, b=0.6, c=0.9)
    words = run_store.compare_runs(*run_store.list_runs(tmp_path / "runs", None))
    assert "2 patients" in words
    assert "-0.100 (honest less leaky)" in words


def test_runs_without_common_patients_are_not_compared(tmp_path, run):
    run("one", a=0.5)
    run("two", when="2026-11-25T00:00:00", b=0.6)
    with pytest.raises(DatasetError, match="no network on common patients"):
        run_store.compare_runs(*run_store.list_runs(tmp_path / "runs", None))


def test_a_run_of_an_earlier_release_is_skipped_and_named(tmp_path, run, said):
    folder = run("old", a=0.5)
    results = json.loads((folder / "results.json").read_text())
    del results["split_by"]
    (folder / "results.json").write_text(json.dumps(results))
    assert run_store.list_runs(tmp_path / "runs", None) == []
    assert said == ["Run old was written by an earlier release and is left out."]
