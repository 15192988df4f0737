"""Samples of a training."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.trainings import sample_dataset

from metseg import phantom
from metseg.contracts import Preprocessing
from metseg_trainer.data import Augmentation, AugmentationConfig, StepBatchSampler, prepare_study, samples
from metseg_trainer.data.augment import drop_sequences
from metseg_trainer.data.samples import prepare_single_slices
from metseg_trainer.training import PRESETS

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")

CONFIG = replace(PRESETS["smoke"], base_width=2, epochs=3, samples_per_epoch=16, batch_size=8, patch_size=(32, 32))


@pytest.fixture(scope="module")
def studies():
    heads = [phantom.head(seed, slices=4, size_px=64, lesions=1) for seed in (1, 2, 3)]
    return [prepare_study(str(n), head.volume, head.mask, Preprocessing()) for n, head in enumerate(heads)]


@pytest.fixture(scope="module")
def sources(studies):
    head = phantom.head(1, slices=4, size_px=64, lesions=1)
    return {"whole": studies, "lone": prepare_single_slices("0", head.volume, head.mask, Preprocessing())}


def test_a_sample_is_a_function_of_its_number(sources):
    first, again = sample_dataset(sources, CONFIG), sample_dataset(sources, CONFIG)
    for number in (0, 5, 1000):
        for one, other in zip(first[number], again[number], strict=True):
            assert torch.equal(one, other)
    assert not torch.equal(first[0][0], first[1][0])


def test_samples_have_the_configured_patch_size_and_truth_in_0_to_1(sources):
    samples = sample_dataset(sources, CONFIG)
    for number in range(12):
        slices, truth = samples[number]
        assert slices.shape == (3, 32, 32)
        assert slices.dtype == torch.float32
        assert truth.shape == (1, 32, 32)
        assert 0 <= truth.min() <= truth.max() <= 1


def test_half_of_the_sampled_slices_have_a_lesion(sources):
    samples = sample_dataset(sources, replace(CONFIG, patch_size=(64, 64)))
    having = np.mean([samples[number][1].max().item() > 0.5 for number in range(200)])
    assert 0.35 < having < 0.65


@pytest.mark.parametrize("persons", [("A", "B", "C"), ("A", "A", "C"), ("A", "A", "A")])
def test_a_lesion_is_transplanted_from_another_person_only(studies, persons, monkeypatch):
    always = replace(CONFIG.sampling, lesion_share=0.0, transplant_p=1.0)
    named = [replace(study, person=person) for study, person in zip(studies, persons, strict=True)]
    pairs = []
    load = samples._load

    def noted(place):
        pairs.append(place.study.person)
        return load(place)

    monkeypatch.setattr(samples, "_load", noted)
    dataset = sample_dataset({"whole": named}, replace(CONFIG, sampling=always))
    for number in range(60):
        pairs.clear()
        dataset[number]
        assert len(set(pairs)) == len(pairs)
        assert len(pairs) == min(2, len(set(persons)))


def test_truth_moves_with_its_slice():
    """All spatial changes and none of intensity: the truth follows the bright square to the pixel."""
    rows, columns = np.mgrid[:64, :64]
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[(rows - 28) ** 2 + (columns - 34) ** 2 < 14**2] = 255
    truth = pixels[..., 0].copy()
    still = {"brightness_contrast_p": 0.0, "gamma_p": 0.0, "degrade_p": 0.0, "noise_p": 0.0}
    augment = Augmentation((64, 64), replace(AugmentationConfig(**still), affine_p=1.0, elastic_p=0.5))
    overlaps = []
    for seed in range(30):
        changed, moved = augment(pixels, truth, seed)
        bright, marked = changed[..., 1] > 127, moved > 127
        assert bright.any()
        overlaps.append(2 * (bright & marked).sum() / (bright.sum() + marked.sum()))
        assert (marked != (truth > 127)).any()
    assert min(overlaps) > 0.97


def test_a_dropped_sequence_is_filled_with_flair():
    values = np.arange(12).reshape(2, 2, 3)
    filled = drop_sequences(values, (0, 2))
    assert (filled == values[..., 1:2]).all()
    assert (drop_sequences(values, (0,))[..., 2] == values[..., 2]).all()


def test_consecutive_steps_repeat_no_sample():
    batches = StepBatchSampler(range(2, 4), batch_size=3)
    assert list(batches) == [[6, 7, 8], [9, 10, 11]]
    assert len(batches) == 2


@pytest.mark.parametrize("processes", [2, 3])
def test_several_processes_share_each_step_without_overlap(processes):
    shares = [list(StepBatchSampler(range(4), 6, rank, processes)) for rank in range(processes)]
    for step in range(4):
        drawn = [number for share in shares for number in share[step]]
        assert sorted(drawn) == list(range(6 * step, 6 * step + 6))
        assert {len(share[step]) for share in shares} == {6 // processes}
