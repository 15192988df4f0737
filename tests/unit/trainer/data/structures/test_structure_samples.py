"""Samples with the core: partial truth, missing sequences, and one sample per number."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from tests.structures import stored_head, stored_studies, structure_dataset

from metseg.errors import DatasetError
from metseg_trainer.data import AugmentationConfig
from metseg_trainer.data.structures import StructureDataset, StructureSamplingConfig, store

CONFIG = StructureSamplingConfig()
AUGMENTATION = AugmentationConfig()


def samples(count: int = 40, **changes):
    dataset = structure_dataset(StructureSamplingConfig(**changes), AUGMENTATION)
    return [dataset[number] for number in range(count)]


def test_a_sample_is_a_function_of_its_number():
    for ours, theirs in zip(samples(12), samples(12), strict=True):
        assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


def test_a_missing_sequence_is_0_and_post_contrast_is_never_missing():
    shown = {tuple(bool(channel.any()) for channel in patch) for patch, _ in samples(60)}
    assert {(False, False, True), (False, True, True), (True, True, True)} <= shown
    assert all(post for _, _, post in shown)


def test_the_core_of_a_glioma_is_unknown_and_that_of_brisc_known():
    gliomas = [truth for _, truth in samples(lgg=1.0, drawn_lgg=0.0, tumour=1.0)]
    assert sum(bool((truth[1] == 0).any()) for truth in gliomas) > 10
    assert all(not truth[0].any() for truth in gliomas)
    single = [truth for _, truth in samples(lgg=0.0, drawn_brisc=0.0, stripped=0.0, centred=1.0)]
    assert sum(bool(truth[0].max() > 0.5) for truth in single) > 10
    assert all((truth[1][truth[0] > 0.5] > 0).all() for truth in single)


def test_studies_with_a_known_core_are_half_of_the_samples_and_wholly_known():
    study = stored_head("study", (False, True, True), slices=2)
    study.flags[0, 80:90, 60:70] |= store.CORE
    study.pixels[0, 80:90, 60:70, 2] = 250
    config = StructureSamplingConfig(lgg=1.0, drawn_lgg=0.0, tumour=1.0, stripped=0.0, centred=1.0, vessels=0.0)
    dataset = StructureDataset(
        *stored_studies(), config, studies=[study], augmentation=AUGMENTATION, patch_size=(96, 96), seed=0
    )
    samples = [dataset[number] for number in range(60)]
    with_core = [(patch[2], truth) for patch, truth in samples if truth[0].max() > 0.5]
    assert 20 < len(with_core) < 40
    for post, truth in with_core:
        assert (truth[1] > 0).all()
        assert post[truth[0] > 0.5].mean() > post[truth[0] < 0.1].mean(), "the core is where it is bright"


def test_pixels_of_small_lesions_weigh_more_and_of_large_ones_as_much_as_others():
    drawn = [truth.numpy() for _, truth in samples(lgg=1.0, drawn_lgg=1.0, tumour=0.0)]
    by_area = {}
    for truth in drawn:
        labels, count = ndimage.label(truth[0] >= 0.5, np.ones((3, 3)))
        for number in range(1, count + 1):
            known = (labels == number) & (truth[1] > 0)
            if known.any():
                by_area[int((labels == number).sum())] = float(truth[1][known].max())
        assert set(np.unique(truth[1][truth[0] < 0.5])) <= {0, 1}
    assert all(weight == 2 for area, weight in by_area.items() if area < 40)
    assert all(weight == 1 for area, weight in by_area.items() if area >= 200)
    assert min(by_area) < 40 and max(by_area) >= 200


def test_some_drawn_lesions_are_larger_than_most_metastases():
    sampling = StructureSamplingConfig(lgg=1.0, drawn_lgg=1.0, tumour=0.0, stripped=0.0, centred=0.0, donated=0.0)
    dataset = structure_dataset(sampling, AUGMENTATION, 192)
    areas = list[float]()
    for number in range(150):
        labels, _ = ndimage.label(dataset[number][1][0].numpy() >= 0.5)
        areas += [int(area) * 0.9**2 for area in np.bincount(labels.ravel())[1:]]
    disc_of_25_mm = np.pi * 12.5**2
    assert 0.02 < np.mean(np.array(areas) > disc_of_25_mm) < 0.15, "without them, the share is 0.01"


def test_patches_have_the_requested_size_and_are_finite():
    for patch, truth in samples(10):
        assert patch.shape == (3, 96, 96)
        assert truth.shape == (2, 96, 96)
        assert np.isfinite(patch.numpy()).all()


def test_slices_above_the_brain_are_learned_from():
    study = stored_head("lgg", (True, True, True), slices=2)
    scalp = np.zeros(study.flags.shape[1:], np.bool_)
    scalp[80:105, 70:100] = True
    study.pixels[0] *= scalp[..., None]
    study.flags[0] = scalp * store.HEAD
    sampling = StructureSamplingConfig(drawn_lgg=0.0)
    dataset = StructureDataset(
        [study], [], sampling, augmentation=AugmentationConfig(), patch_size=(192, 176), seed=0
    )  # fmt: skip
    shown_px = [int((dataset[number][0][2] > dataset[number][0][2].min()).sum()) for number in range(12)]
    assert min(shown_px) < 5000 < max(shown_px), shown_px


@pytest.mark.parametrize(("source", "name"), [(0, "LGG"), (1, "BRISC")])
def test_a_source_without_heads_is_refused(source, name):
    studies = stored_studies()
    for study in studies[source]:
        study.flags[...] &= ~np.uint8(store.HEAD)
    with pytest.raises(DatasetError, match=f"No slice of {name}"):
        StructureDataset(*studies, CONFIG, augmentation=AUGMENTATION, patch_size=(96, 96), seed=0)


@pytest.mark.parametrize("source", [0, 1])
def test_a_source_that_is_left_out_leaves_all_samples_to_the_other(source):
    studies: list[list] = [[], []]
    studies[source] = list(stored_studies()[source])
    dataset = StructureDataset(*studies, CONFIG, augmentation=AUGMENTATION, patch_size=(96, 96), seed=0)
    shown = {tuple(bool(channel.any()) for channel in patch) for patch, _ in (dataset[number] for number in range(20))}
    assert ((True, True, True) in shown) == (source == 0), "BRISC shows post-contrast T1 alone"
