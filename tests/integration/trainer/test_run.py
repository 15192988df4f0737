"""The trainer's command line from an empty folder to a champion, on phantoms."""

import json
import os
import subprocess
import sys

import pytest
import torch
from tests.trainings import export_once

from metseg.inference import OnnxPredictor, segment
from metseg.registry import Registry
from metseg.settings import Settings, settings
from metseg.storage import open_store
from metseg_trainer.cli import main
from metseg_trainer.data import load_patient, read_split, scan_folder
from metseg_trainer.evaluation import CORRUPTIONS, dice
from metseg_trainer.runs.locks import exclusive

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")


@pytest.fixture
def configured(tmp_path, monkeypatch):
    """A store in a folder, and a folder for runs."""
    monkeypatch.setenv("METSEG_STORE_DIRECTORY", str(tmp_path / "store"))
    monkeypatch.setenv("RUNS_DIR", str(tmp_path / "runs"))
    threads, set_num_threads = torch.get_num_threads(), torch.set_num_threads
    set_num_threads(1)  # several threads wait for each other on a busy machine
    monkeypatch.setattr("torch.set_num_threads", lambda count: None)
    monkeypatch.setattr("metseg_trainer.export.publish.to_onnx", export_once)
    settings.cache_clear()
    yield tmp_path
    set_num_threads(threads)
    settings.cache_clear()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_one_command_goes_from_nothing_to_a_champion_and_resumes(configured, capsys):
    assert main(["run", "--preset", "smoke", "--name", "first"]) == 0
    run = configured / "runs" / "first"
    registry = Registry(open_store(Settings(store_directory=configured / "store")))
    champion = registry.champion()
    assert champion is not None
    card, model = registry.load(champion.version)

    results = json.loads((run / "results.json").read_text())
    assert {row["title"] for row in results["networks"]} == {"Nested U-Net (U-Net++)", "Attention U-Net"}
    assert card.figures.keys() == {"Nested U-Net (U-Net++)", "Attention U-Net"}
    assert card.network in results["verdict"]
    assert results["comparison"]["words"] in results["verdict"]
    assert card.comparison.words == results["comparison"]["words"]
    for evaluation in (*card.evaluation.values(), *(row["evaluation"] for row in results["networks"])):
        assert evaluation
    titles = {one.title for one in CORRUPTIONS.values()}
    assert card.evaluation[card.network].robustness.keys() == {"each slice alone", *titles}
    assert 0.2 <= card.threshold <= 0.8
    words = registry.file(champion.version, "model-card.md").decode()
    assert "## Intended use" in words
    assert "## Ethical considerations" in words

    report, public = (run / "report.html").read_text(), registry.file(champion.version, "report.html").decode()
    split = read_split(run / "split.json")
    assert not set(split.train) & set(split.test)
    assert all(patient in report for patient in split.test)
    assert not any(patient in public + words for patient in (*split.train, *split.test))

    patients = {patient.id: patient for patient in scan_folder(configured / "runs" / "phantoms")[0]}
    predictor = OnnxPredictor(card, model, threads=1)
    scores = []
    for id in split.test:
        volume, truth = load_patient(patients[id])
        scores.append(dice(segment(volume, predictor).mask, truth))
    assert sum(scores) / len(scores) == pytest.approx(card.figures[card.network].mean, abs=1e-3)

    curves = (run / "attention-unet" / "curves.json").read_text()
    assert main(["run", "--preset", "smoke", "--resume", "--promote", "never"]) == 0
    assert (run / "attention-unet" / "curves.json").read_text() == curves
    assert registry.champion() == champion
    assert len(registry.versions()) == 2

    kept = {info.key for info in open_store(Settings(store_directory=configured / "store")).list("runs/")}
    for name in ("config.json", "split.json", "patients.json", "results.json", "attention-unet/curves.json"):
        assert f"runs/first/{name}" in kept
    assert any("events.out.tfevents" in key for key in kept)
    assert not any(key.endswith((".ckpt", ".onnx", ".bin")) for key in kept)

    capsys.readouterr()
    assert main(["runs"]) == 0
    assert "first" in capsys.readouterr().out
    assert main(["runs", "first", "second"]) == 1
    assert "no finished run second" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_cross_validation_tests_every_patient_once_and_exports_nothing(configured, capsys):
    words = ["run", "--preset", "smoke", "--epochs", "1", "--networks", "attention-unet", "--name", "crossed"]
    assert main([*words, "--folds", "2"]) == 0
    run = configured / "runs" / "crossed"
    by_patient = json.loads((run / "patients.json").read_text())["attention-unet"]
    assert len(by_patient) == 8
    folds = [read_split(run / f"fold-{n}" / "split.json") for n in (1, 2)]
    assert sorted((*folds[0].test, *folds[1].test)) == sorted(by_patient)
    assert not list(run.rglob("*.onnx"))
    assert "no model was exported" in json.loads((run / "results.json").read_text())["verdict"]

    store = open_store(Settings(store_directory=configured / "store"))
    kept = {info.key for info in store.list("runs/crossed/")}
    assert {f"runs/crossed/fold-{n}/{name}" for n in (1, 2) for name in ("split.json", "patients.json")} < kept
    assert not list(run.rglob("prepared"))
    assert '<h3 style="margin-top:0">Split, by 2 folds</h3>' in (run / "report.html").read_text()
    row = json.loads((run / "results.json").read_text())["networks"][0]
    assert (row["patients"], row["epochs"]) == (8, 1)
    assert row["minutes"] > 0

    trained = (run / "fold-1" / "attention-unet" / "last.ckpt").stat().st_mtime_ns
    (run / "fold-2" / "attention-unet" / "last.ckpt").unlink()
    assert main([*words, "--folds", "2", "--resume"]) == 0
    assert (run / "fold-1" / "attention-unet" / "last.ckpt").stat().st_mtime_ns == trained
    assert (run / "fold-2" / "attention-unet" / "last.ckpt").exists()
    capsys.readouterr()
    assert main([*words, "--folds", "3", "--resume"]) == 1
    assert "another configuration" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_networks_can_train_in_separate_processes_and_a_split_by_slice_is_said_to_leak(configured):
    words = ["run", "--preset", "smoke", "--epochs", "1", "--name", "leak", "--split", "slice"]
    command = [sys.executable, "-m", "metseg_trainer", *words, "--threads", "1", "--train-only", "--networks"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    processes = [subprocess.Popen([*command, name], env=environment) for name in ("nested-unet", "attention-unet")]
    assert [process.wait() for process in processes] == [0, 0]
    run = configured / "runs" / "leak"
    assert not (run / "results.json").exists()
    trained = {path: path.stat().st_mtime_ns for path in run.glob("*/last.ckpt")}
    assert {path.parent.name for path in trained} == {"nested-unet", "attention-unet"}
    assert len(list((run / "prepared").glob("*/index.json"))) == 4
    store = open_store(Settings(store_directory=configured / "store"))
    assert {f"runs/leak/{name}/curves.json" for name in ("nested-unet", "attention-unet")} < {
        info.key for info in store.list("runs/")
    }

    assert main([*words, "--resume"]) == 0
    assert {path: path.stat().st_mtime_ns for path in trained} == trained
    results = json.loads((run / "results.json").read_text())
    assert [row["epochs"] for row in results["networks"]] == [1, 1]
    assert results["split_by"] == "slice"
    assert "say nothing of new patients" in results["verdict"]
    assert "by slice, as a split must not be" in (run / "report.html").read_text()
    assert json.loads((run / "environment.json").read_text())["threads"] == 1
    assert not list(run.rglob("*.onnx"))
    assert Registry(store).champion() is None


def test_a_run_can_continue_from_another_unless_that_saw_its_test_patients(configured, capsys):
    assert main(["phantom", str(configured / "heads"), "--patients", "8"]) == 0
    patients = sorted(path.name for path in (configured / "heads").iterdir())
    early = configured / "runs" / "early"
    early.mkdir(parents=True)
    (early / "split.json").write_text(json.dumps({"train": patients, "validation": [], "test": []}))
    words = ["run", "--preset", "quick", "--data", str(configured / "heads"), "--name", "late"]
    assert main([*words, "--start", str(early)]) == 1
    assert "was trained on" in capsys.readouterr().err


@pytest.mark.parametrize("way", [["--folds", "2"], ["--leave-site-out", "P1"], ["--split", "slice"]])
def test_only_a_split_by_patient_continues_from_another_run(configured, capsys, way):
    assert main(["run", "--preset", "smoke", "--name", "late", "--start", str(configured), *way]) == 1
    assert "with a split by patient" in capsys.readouterr().err


def test_a_batch_that_the_devices_cannot_share_is_refused(configured, capsys):
    assert main(["run", "--preset", "smoke", "--name", "three", "--devices", "3"]) == 1
    assert "cannot be divided equally among 3 devices" in capsys.readouterr().err


def test_a_network_that_another_process_trains_is_not_trained_twice(configured, capsys):
    with exclusive(configured / "runs" / "twice" / "nested-unet"):
        assert main(["run", "--preset", "smoke", "--name", "twice", "--resume"]) == 1
    assert "Another process works in" in capsys.readouterr().err


def test_a_number_of_folds_is_above_one(configured, capsys):
    assert main(["run", "--preset", "smoke", "--folds", "0", "--name", "none"]) == 1
    assert "0 folds" in capsys.readouterr().err


def test_a_site_without_patients_is_refused(configured, capsys):
    assert main(["run", "--preset", "smoke", "--leave-site-out", "XX", "--name", "lost"]) == 1
    assert "cannot be left out" in capsys.readouterr().err


def test_a_run_is_not_overwritten_by_another_of_its_name(configured, capsys):
    (configured / "runs" / "first").mkdir(parents=True)
    assert main(["run", "--preset", "smoke", "--name", "first"]) == 1
    assert "add --resume" in capsys.readouterr().err


def test_resuming_needs_a_run(configured, capsys):
    assert main(["run", "--preset", "smoke", "--resume"]) == 1
    assert "no run" in capsys.readouterr().err


def test_another_config_cannot_resume_a_run(configured, capsys):
    folder = configured / "runs" / "first"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"preset": "full"}))
    assert main(["run", "--preset", "smoke", "--name", "first", "--resume"]) == 1
    assert "another configuration" in capsys.readouterr().err


def test_a_folder_without_slices_is_refused_in_one_line(configured, capsys):
    (configured / "data").mkdir()
    (configured / "data" / "notes.txt").write_text("nothing")
    assert main(["run", "--preset", "quick", "--data", str(configured / "data")]) == 1
    error = capsys.readouterr().err.strip().splitlines()
    assert error[-1].startswith("metseg-trainer: Nothing in")


def test_phantoms_are_drawn_and_audited(configured, capsys):
    folder = configured / "phantoms"
    assert main(["phantom", str(folder), "--patients", "1"]) == 0
    assert main(["audit", str(folder)]) == 0
    assert "1 patients" in capsys.readouterr().out
