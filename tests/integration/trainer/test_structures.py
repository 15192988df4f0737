"""`metseg-trainer structures` from phantom folders to a table."""

import json

import numpy as np
import pytest
from tests.models import tiny_card, tiny_model
from tests.structures import write_brisc

from metseg import phantom
from metseg.contracts import ModelCard, OperatingPoint
from metseg.inference import OnnxPredictor, segment
from metseg.registry import FULL_PRECISION_MODEL, MODEL, Registry
from metseg.storage import LocalFolderStore
from metseg_trainer.cli import main
from metseg_trainer.data import write_phantoms
from metseg_trainer.export import read_whole
from metseg_trainer.export.onnx_export import to_onnx
from metseg_trainer.networks import create_network


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("structures")
    write_phantoms(folder / "lgg", patients=3, slices=6, size_px=160)
    write_brisc(folder / "brisc")
    write_phantoms(folder / "brats", patients=1, slices=8, size_px=128, layout="brats2013")
    write_version(folder / "whole", to_onnx(create_network("attention-unet", 2).eval()), "whole")
    write_version(folder / "both", tiny_model(), "core", "whole")
    return folder


def write_version(folder, model, *structures):
    folder.mkdir()
    (folder / MODEL).write_bytes(model)
    points = {structure: OperatingPoint() for structure in structures}
    card = tiny_card(model).model_copy(update={"operating_points": points})
    (folder / "card.json").write_text(card.model_dump_json())


def command(folders, out, *more):
    options = ["structures", "--samples", "16", "--base-width", "2", "--threads", "1"]
    names = ("lgg", "brisc", "brats", "whole")
    sources = [part for name in names for part in (f"--{name}", folders / name)]
    return main([*options, *map(str, sources), "--out", str(out), *more])


def test_the_command_prepares_trains_and_evaluates_both_structures(folders, tmp_path, capsys):
    assert command(folders, tmp_path) == 0
    table = capsys.readouterr().out
    figures = json.loads((tmp_path / "attention-unet" / "figures.json").read_text())
    assert figures.keys() == {
        "gliomas, whole",
        "drawn metastases, core",
        "drawn metastases, core, post-contrast T1 alone",
        "BRISC axial validation slices, core",
        "volumes, core",
        "volumes, whole",
    }
    assert all(name in table for name in figures)

    record = json.loads((tmp_path / "attention-unet" / "config.json").read_text())
    assert {"clip_norm", "warm_up", "weight_decay", "ema_decay", "loss", "augmentation"} <= record.keys()
    assert record["samples_per_epoch"] == 16
    assert sum(record["structure_sampling"]["sequences"].values()) == pytest.approx(1)
    assert "pre+flair+post" in record["structure_sampling"]["sequences"]

    store = LocalFolderStore(tmp_path / "store")
    store.prepare(job_days=7)
    registry = Registry(store)
    place = tmp_path / "attention-unet"
    card = ModelCard.model_validate_json((place / "card.json").read_bytes())
    assert card.further_evaluation.keys() == figures.keys() - {"gliomas, whole"}
    assert "PHANTOM" not in (place / "model-card.md").read_text() + card.model_dump_json()
    assert card.preprocessing.missing_sequences == "zero"
    models = (MODEL, FULL_PRECISION_MODEL) if card.full_precision else (MODEL,)
    registry.publish(card, {name: (place / name).read_bytes() for name in models})
    study = phantom.head(4, slices=6, size_px=128, lesions=2)
    served = segment(study.volume, OnnxPredictor(card, registry.load(card.version)[1], threads=1))
    assert set(served.structures) == {"core", "whole"}
    assert not (served.structures["core"].mask & ~served.structures["whole"].mask).any()

    assert command(folders, tmp_path) == 1
    assert "add --resume" in capsys.readouterr().err
    only_whole = tiny_card(b"").model_copy(update={"operating_points": {"whole": OperatingPoint()}})
    for name in models:
        whole = OnnxPredictor(only_whole, read_whole(place, name), threads=1)
        assert whole(np.zeros((1, 32, 32, 3), np.float32)).shape == (1, 1, 32, 32)
    assert command(folders, tmp_path, "--resume") == 0
    assert json.loads((tmp_path / "attention-unet" / "figures.json").read_text()) == figures


def test_nothing_to_resume_and_folders_without_data_are_refused(folders, tmp_path, capsys):
    assert command(folders, tmp_path, "--resume") == 1
    assert "has no checkpoint to resume" in capsys.readouterr().err
    assert command(folders, tmp_path, "--brisc", str(tmp_path)) == 1
    assert "index.csv cannot be read" in capsys.readouterr().err
    assert command(folders, tmp_path, "--whole", str(folders / "both")) == 1
    assert "was not joined from" in capsys.readouterr().err
    assert not (tmp_path / "attention-unet").exists()
