"""The trainer's command line on a folder of volumes."""

import json
from dataclasses import replace

import pytest

from metseg.settings import settings
from metseg_trainer.cli import main
from metseg_trainer.data import read_split, write_phantoms
from metseg_trainer.training import PRESETS

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_one_command_trains_on_a_brats_mets_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(PRESETS, "quick", replace(PRESETS["smoke"], epochs=1, samples_per_epoch=16))
    settings.cache_clear()
    write_phantoms(tmp_path / "data", 5, layout="brats", slices=8, size_px=64)
    data, runs = str(tmp_path / "data"), str(tmp_path / "runs")
    command = ["run", "--preset", "quick", "--data", data, "--runs", runs, "--name", "volumes", "--promote", "never"]
    assert main([*command, "--networks", "attention-unet"]) == 0
    run = tmp_path / "runs" / "volumes"
    audit = json.loads((run / "audit.json").read_text())
    assert (audit["layout"], audit["patients"], audit["structures"]) == ("BraTS", 5, {"core and whole": 5})
    split = read_split(run / "split.json")
    assert sorted((*split.train, *split.validation, *split.test)) == [f"BraTS-MET-{n:05d}-000" for n in range(1, 6)]
    results = json.loads((run / "results.json").read_text())
    assert [row["title"] for row in results["networks"]] == ["Attention U-Net"]
    assert results["networks"][0]["evaluation"]
    report = (run / "report.html").read_text()
    assert all(patient in report for patient in split.test)
