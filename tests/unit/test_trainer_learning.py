"""Losses and samples: what is learned from."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from metseg import phantom
from metseg.contracts import Preprocessing
from metseg_trainer.data.augment import Augmentation, drop_sequences
from metseg_trainer.data.samples import Batches, Samples, prepare, prepare_lone
from metseg_trainer.training.config import PRESETS
from metseg_trainer.training.losses import dice_bce, supervised

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")

RECIPE = replace(PRESETS["smoke"], base_width=2, epochs=3, samples=16, batch=8, patch=(32, 32))


@pytest.fixture(scope="module")
def studies():
    heads = [phantom.head(seed, slices=4, size_px=64, lesions=1) for seed in (1, 2, 3)]
    return [prepare(str(n), head.volume, head.mask, Preprocessing()) for n, head in enumerate(heads)]


@pytest.fixture(scope="module")
def sources(studies):
    head = phantom.head(1, slices=4, size_px=64, lesions=1)
    return {"whole": studies, "lone": prepare_lone("0", head.volume, head.mask, Preprocessing())}


def test_a_perfect_prediction_costs_nothing():
    truth = (torch.rand(2, 1, 8, 8) > 0.5).float()
    assert dice_bce((truth - 0.5) * 100, truth).item() == pytest.approx(0, abs=1e-4)


def test_the_loss_is_half_dice_and_half_cross_entropy():
    logits, truth = torch.zeros(1, 1, 1, 2), torch.tensor([[[[1.0, 0.0]]]])
    dice = 1 - (2 * 0.5 + 1) / (1 + 1 + 1)
    assert dice_bce(logits, truth).item() == pytest.approx(0.5 * dice + 0.5 * np.log(2), abs=1e-6)


def test_an_empty_slice_predicted_empty_costs_nothing():
    truth = torch.zeros(1, 1, 4, 4)
    assert dice_bce(torch.full_like(truth, -50), truth).item() == pytest.approx(0, abs=1e-6)


def test_a_small_lesion_weighs_as_much_as_a_large_one():
    truth = torch.zeros(3, 1, 16, 16)
    truth[0, :, :12, :12] = 1
    truth[1, :, :2, :2] = 1
    logits = (truth - 0.5) * 100
    without_large, without_small = logits.clone(), logits.clone()
    without_large[0], without_small[1] = -50, -50
    cross_entropy = torch.nn.functional.binary_cross_entropy_with_logits

    def by_dice(predicted):
        return (dice_bce(predicted, truth) - 0.5 * cross_entropy(predicted, truth)).item()

    assert by_dice(without_small) > 0.25 * 0.5 * 0.75
    assert by_dice(without_large) == pytest.approx(0.25 * (1 - 9 / 153 * 1) + 0.25 * 0.5 * (1 - 1 / 145), abs=0.01)


def test_every_supervised_output_counts_alike():
    truth = (torch.rand(1, 1, 4, 4) > 0.5).float()
    one, two = torch.randn(2, 1, 1, 4, 4)
    mean = (dice_bce(one, truth) + dice_bce(two, truth)) / 2
    assert supervised([one, two], truth).item() == pytest.approx(mean.item())


def test_a_sample_is_a_function_of_its_number(sources):
    first, again = Samples(sources, RECIPE), Samples(sources, RECIPE)
    for number in (0, 5, 1000):
        for one, other in zip(first[number], again[number], strict=True):
            assert torch.equal(one, other)
    assert not torch.equal(first[0][0], first[1][0])


def test_samples_have_the_recipes_patch_and_a_truth_between_zero_and_one(sources):
    samples = Samples(sources, RECIPE)
    for number in range(12):
        slices, truth = samples[number]
        assert slices.shape == (3, 32, 32)
        assert slices.dtype == torch.float32
        assert truth.shape == (1, 32, 32)
        assert 0 <= truth.min() <= truth.max() <= 1


def test_lesion_slices_are_drawn_as_often_as_others(sources):
    samples = Samples(sources, replace(RECIPE, patch=(64, 64)))
    having = np.mean([samples[number][1].max().item() > 0.5 for number in range(200)])
    assert 0.35 < having < 0.65


def test_truth_moves_with_its_slice():
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[20:40, 24:44] = 200
    truth = (pixels[..., 0] > 0).astype(np.uint8) * 255
    augment = Augmentation((64, 64))
    for seed in range(30):
        changed, moved = augment(pixels, truth, seed)
        if (moved > 127).any():
            assert changed[moved > 127].mean() > changed[moved <= 127].mean() + 40


def test_a_dropped_sequence_is_filled_with_flair():
    values = np.arange(12).reshape(2, 2, 3)
    filled = drop_sequences(values, (0, 2))
    assert (filled == values[..., 1:2]).all()
    assert (drop_sequences(values, (0,))[..., 2] == values[..., 2]).all()


def test_steps_follow_one_another_without_a_sample_twice():
    batches = Batches(range(2, 4), batch=3)
    assert list(batches) == [[6, 7, 8], [9, 10, 11]]
    assert len(batches) == 2


@pytest.mark.parametrize("processes", [2, 3])
def test_several_processes_share_each_step_without_overlap(processes):
    shares = [list(Batches(range(4), 6, rank, processes)) for rank in range(processes)]
    for step in range(4):
        drawn = [number for share in shares for number in share[step]]
        assert sorted(drawn) == list(range(6 * step, 6 * step + 6))
        assert {len(share[step]) for share in shares} == {6 // processes}
