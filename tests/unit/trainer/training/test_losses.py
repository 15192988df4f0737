"""The loss by hand."""

import numpy as np
import pytest
import torch

from metseg_trainer.training import LossConfig, deep_supervision_loss
from metseg_trainer.training.losses import dice_bce_loss


def test_a_perfect_prediction_costs_nothing():
    truth = (torch.rand(2, 1, 8, 8) > 0.5).float()
    assert dice_bce_loss((truth - 0.5) * 100, truth, LossConfig()).item() == pytest.approx(0, abs=1e-4)


def test_the_loss_is_half_dice_and_half_cross_entropy():
    logits, truth = torch.zeros(1, 1, 1, 2), torch.tensor([[[[1.0, 0.0]]]])
    dice = 1 - (2 * 0.5 + 1) / (1 + 1 + 1)
    assert dice_bce_loss(logits, truth, LossConfig()).item() == pytest.approx(0.5 * dice + 0.5 * np.log(2), abs=1e-6)


def test_an_empty_slice_predicted_empty_costs_nothing():
    truth = torch.zeros(1, 1, 4, 4)
    assert dice_bce_loss(torch.full_like(truth, -50), truth, LossConfig()).item() == pytest.approx(0, abs=1e-6)


def test_a_small_lesion_has_the_weight_of_a_large_one():
    truth = torch.zeros(3, 1, 16, 16)
    truth[0, :, :12, :12] = 1
    truth[1, :, :2, :2] = 1
    logits = (truth - 0.5) * 100
    without_large, without_small = logits.clone(), logits.clone()
    without_large[0], without_small[1] = -50, -50
    cross_entropy = torch.nn.functional.binary_cross_entropy_with_logits

    def by_dice(predicted):
        return (dice_bce_loss(predicted, truth, LossConfig()) - 0.5 * cross_entropy(predicted, truth)).item()

    assert by_dice(without_small) > 0.25 * 0.5 * 0.75
    assert by_dice(without_large) == pytest.approx(0.25 * (1 - 9 / 153 * 1) + 0.25 * 0.5 * (1 - 1 / 145), abs=0.01)


def test_every_supervised_output_has_equal_weight():
    truth = (torch.rand(1, 1, 4, 4) > 0.5).float()
    one, two = torch.randn(2, 1, 1, 4, 4)
    mean = (dice_bce_loss(one, truth, LossConfig()) + dice_bce_loss(two, truth, LossConfig())) / 2
    assert deep_supervision_loss([one, two], truth, LossConfig()).item() == pytest.approx(mean.item())
