"""The training of the core: unknown truth has no gradient, and a resumed training ends with the same weights."""

from dataclasses import replace

import pytest
import torch
from tests.structures import stored_studies

from metseg.errors import InvalidParameter, TrainingFailed
from metseg_trainer.training import CHECKPOINT, LossConfig, StructureTrainingConfig, load_network, train_structures
from metseg_trainer.training.batches import remaining_batches
from metseg_trainer.training.checkpoints import load_checkpoint
from metseg_trainer.training.losses import core_loss, dice_bce_loss

CONFIG = StructureTrainingConfig(base_width=2, samples_per_epoch=12, batch_size=4, patch_size=(64, 64))


def test_unknown_truth_gives_no_gradient():
    logits, truth = torch.randn(3, 1, 16, 16, requires_grad=True), torch.ones(3, 1, 16, 16)
    weights = torch.zeros(3, 1, 16, 16)
    weights[0] = 1  # all of the first slice, the upper half of the second, none of the third
    weights[1, :, :8] = 1
    dice_bce_loss(logits, truth, LossConfig(), weights=weights).backward()
    gradient = logits.grad.abs()
    assert gradient[0].min() > 0
    assert gradient[1, :, :8].min() > 0
    assert gradient[1, :, 8:].max() == 0
    assert gradient[2].max() == 0


def test_equal_weights_change_nothing():
    logits, truth = torch.randn(2, 1, 16, 16), (torch.rand(2, 1, 16, 16) > 0.5).float()
    ones = torch.ones_like(truth)
    weighted = core_loss([logits], torch.cat([truth, ones], 1), LossConfig())
    assert weighted.item() == pytest.approx(dice_bce_loss(logits, truth, LossConfig()).item())


def test_a_perfect_prediction_costs_nothing():
    truth = (torch.rand(2, 1, 16, 16) > 0.5).float()
    logits = truth * 80 - 40
    loss = core_loss([logits, logits], torch.cat([truth, torch.ones_like(truth)], 1), LossConfig())
    assert loss.item() == pytest.approx(0, abs=1e-3)


def test_a_lesion_of_greater_weight_costs_more_where_it_is_missed():
    truth, weights = torch.zeros(1, 1, 16, 16), torch.ones(1, 1, 16, 16)
    truth[..., :4, :4] = 1
    missed = torch.full((1, 1, 16, 16), -4.0)
    plain = dice_bce_loss(missed, truth, LossConfig(), weights=weights)
    weights[..., :4, :4] = 8
    assert dice_bce_loss(missed, truth, LossConfig(), weights=weights) > plain


class StopAtOnce:
    """A stop signal that is set before the first step."""

    def is_set(self) -> bool:
        return True


def test_a_resumed_training_ends_with_the_same_weights(tmp_path, monkeypatch):
    network = "attention-unet"
    train_structures(network, CONFIG, *stored_studies(), tmp_path / "whole")
    whole = load_checkpoint(tmp_path / "whole" / CHECKPOINT)
    assert whole["step"] == 3
    assert load_network(tmp_path / "whole" / CHECKPOINT).outputs == 1

    with monkeypatch.context() as patched:
        patched.setattr("metseg_trainer.training.structures.launch", lambda work, processes: work(StopAtOnce()))
        with pytest.raises(KeyboardInterrupt):
            train_structures(network, CONFIG, *stored_studies(), tmp_path / "stopped")
    assert load_checkpoint(tmp_path / "stopped" / CHECKPOINT)["step"] == 1
    train_structures(network, CONFIG, *stored_studies(), tmp_path / "stopped")
    resumed = load_checkpoint(tmp_path / "stopped" / CHECKPOINT)
    for kind in ("weights", "ema"):
        assert all(torch.equal(resumed[kind][name], weight) for name, weight in whole[kind].items())


def test_another_configuration_is_not_resumed(tmp_path):
    train_structures("attention-unet", replace(CONFIG, samples_per_epoch=4), *stored_studies(), tmp_path)
    with pytest.raises(TrainingFailed, match="another network or configuration"):
        train_structures("attention-unet", CONFIG, *stored_studies(), tmp_path)


def test_samples_that_do_not_fill_a_batch_are_refused(tmp_path):
    with pytest.raises(InvalidParameter, match="3 samples do not fill a batch of 4"):
        train_structures("attention-unet", replace(CONFIG, samples_per_epoch=3), *stored_studies(), tmp_path)


def test_a_network_that_is_trained_further_sees_other_samples(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "metseg_trainer.training.structures.remaining_batches",
        lambda state, dataset: drawn.append(dataset[0][0]) or remaining_batches(state, dataset),
    )
    start = None
    for name in ("first", "again", "second", "third"):
        folder = tmp_path / name
        train_structures("attention-unet", CONFIG, *stored_studies(), folder, start=start)
        start = None if name == "first" else folder / CHECKPOINT
    first, again, second, third = drawn
    assert torch.equal(first, again)
    assert not torch.equal(second, first)
    assert not torch.equal(third, second)


def test_a_training_starts_from_the_weights_of_another(tmp_path):
    network, barely = "attention-unet", replace(CONFIG, samples_per_epoch=4, learning_rate=1e-9)
    train_structures(network, CONFIG, *stored_studies(), tmp_path / "first")
    first = load_checkpoint(tmp_path / "first" / CHECKPOINT)["ema"]
    train_structures(network, barely, *stored_studies(), tmp_path / "second", start=tmp_path / "first" / CHECKPOINT)
    second = load_checkpoint(tmp_path / "second" / CHECKPOINT)["weights"]
    trained = [name for name in first if name.endswith("weight")]
    assert all(torch.allclose(first[name], second[name], atol=1e-6) for name in trained)
    with pytest.raises(TrainingFailed, match="weights of another network"):
        train_structures(
            "nested-unet", CONFIG, *stored_studies(), tmp_path / "third", start=tmp_path / "first" / CHECKPOINT
        )
