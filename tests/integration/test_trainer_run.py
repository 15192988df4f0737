"""The trainer's command line from nothing to a champion, on phantoms."""

import json

import pytest

from metseg.objects import open_store
from metseg.predictor import OnnxPredictor
from metseg.registry import Registry
from metseg.segment import segment
from metseg.settings import Settings, settings
from metseg_trainer import dataset
from metseg_trainer.cli import RUN_VARIABLE, main
from metseg_trainer.evaluate import dice
from metseg_trainer.split import read

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")


@pytest.fixture
def configured(tmp_path, monkeypatch):
    """A store in a folder, and no memory of another run."""
    monkeypatch.setenv("METSEG_STORE_DIRECTORY", str(tmp_path / "store"))
    monkeypatch.setenv("RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.setenv(RUN_VARIABLE, "")
    monkeypatch.setattr("torch.set_num_threads", lambda count: None)
    settings.cache_clear()
    yield tmp_path
    settings.cache_clear()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_one_command_goes_from_nothing_to_a_champion_and_resumes(configured, capsys, monkeypatch):
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

    report, public = (run / "report.html").read_text(), registry.file(champion.version, "report.html").decode()
    split = read(run / "split.json")
    assert not set(split.train) & set(split.test)
    assert all(patient in report for patient in split.test)
    assert not any(patient in public for patient in (*split.train, *split.test))

    patients = {patient.id: patient for patient in dataset.scan(configured / "runs" / "phantoms")[0]}
    predictor = OnnxPredictor(card, model, threads=1)
    scores = []
    for id in split.test:
        volume, truth = dataset.load(patients[id])
        scores.append(dice(segment(volume, predictor).mask, truth))
    assert sum(scores) / len(scores) == pytest.approx(card.figures[card.network].mean, abs=1e-3)

    monkeypatch.setenv(RUN_VARIABLE, "")
    curves = (run / "attention-unet" / "curves.json").read_text()
    assert main(["run", "--preset", "smoke", "--resume", "--promote", "never"]) == 0
    assert (run / "attention-unet" / "curves.json").read_text() == curves
    assert registry.champion() == champion
    assert len(registry.versions()) == 2


def test_a_run_is_not_overwritten_by_another_of_its_name(configured, capsys):
    (configured / "runs" / "first").mkdir(parents=True)
    assert main(["run", "--preset", "smoke", "--name", "first"]) == 1
    assert "add --resume" in capsys.readouterr().err


def test_there_must_be_a_run_to_resume(configured, capsys):
    assert main(["run", "--preset", "smoke", "--resume"]) == 1
    assert "no run" in capsys.readouterr().err


def test_another_recipe_cannot_continue_a_run(configured, capsys):
    folder = configured / "runs" / "first"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"preset": "full"}))
    assert main(["run", "--preset", "smoke", "--name", "first", "--resume"]) == 1
    assert "another recipe" in capsys.readouterr().err


def test_a_folder_without_slices_ends_in_one_line(configured, capsys):
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
