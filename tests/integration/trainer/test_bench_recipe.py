"""The ablation bench of the recipe, on phantoms."""

import json

import numpy as np
import pytest
import torch
from tests.bench import bench_recipe

from metseg.contracts import Preprocessing
from metseg_trainer.data import read_split
from metseg_trainer.evaluation import TorchPredictor
from metseg_trainer.networks import create_network
from metseg_trainer.training import PRESETS

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")


def test_a_trial_changes_one_thing_and_draws_nothing_from_the_source_it_drops():
    config = PRESETS["smoke"]
    assert bench_recipe.TRIALS["recipe"].of(config) == config
    without = bench_recipe.TRIALS["no-lone"].of(config)
    assert without.sampling.source_shares == config.sampling.source_shares | {"lone": 0.0}
    assert bench_recipe.TRIALS["batch-16"].of(config).batch_size == 2 * config.batch_size


def test_a_flipped_prediction_is_the_same_for_a_slice_and_its_mirror_image():
    torch.manual_seed(0)
    network = create_network("attention-unet", base_width=4)
    slices = np.random.default_rng(0).standard_normal((1, 32, 48, 3)).astype(np.float32)
    plain, flipped = (kind(network, Preprocessing()) for kind in (TorchPredictor, bench_recipe.Flipped))
    assert np.abs(plain(slices) - plain(slices[:, :, ::-1])[..., ::-1]).max() > 1e-3
    np.testing.assert_allclose(flipped(slices), flipped(slices[:, :, ::-1])[..., ::-1], atol=1e-6)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_trials_are_evaluated_once_on_training_patients_alone(tmp_path, capsys):
    folder, shown = tmp_path / "bench", tmp_path / "shown"
    words = ["--preset", "smoke", "--epochs", "1", "--folder", str(folder), "--table", str(shown), "--threads", "1"]
    bench_recipe.main([*words, "--trials", "recipe"])
    first = (folder / "recipe" / "figures.json").stat().st_mtime_ns
    bench_recipe.main([*words, "--trials", "recipe", "no-transplant"])
    assert (folder / "recipe" / "figures.json").stat().st_mtime_ns == first

    report = json.loads((shown / "recipe.json").read_text())
    assert [row["trial"] for row in report["trials"]] == ["recipe", "no-transplant", "flips"]
    split = read_split(folder / "split.json")
    for name in ("recipe", "no-transplant", "flips"):
        figures = json.loads((folder / name / "figures.json").read_text())
        assert figures["dice"].keys() < {*split.train, *split.validation}
    page = (shown / "recipe.md").read_text()
    assert page in capsys.readouterr().out
    assert not any(patient in page + json.dumps(report) for patient in (*split.train, *split.validation, *split.test))
