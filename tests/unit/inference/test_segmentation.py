"""The pipeline over a predictor that the test can read."""

from dataclasses import replace

import numpy as np
import pytest
from tests.models import tiny_card, tiny_model

from metseg import phantom
from metseg.contracts import OperatingPoint, Preprocessing
from metseg.errors import Cancelled
from metseg.inference import OnnxPredictor, predict, segment
from metseg.inference.segmentation import MODEL_WITHOUT_CORE


class Bright:
    """Predicts a lesion where FLAIR exceeds one deviation, and records its inputs."""

    preprocessing = Preprocessing()

    def __init__(self, **point: float) -> None:
        self.operating_points = {"whole": OperatingPoint(**point)}
        self.asked: list[tuple[int, ...]] = []

    max_concurrency = batch_size = 1

    def __call__(self, tensor: np.ndarray) -> np.ndarray:
        self.asked.append(tensor.shape)
        return 1 / (1 + np.exp(-4 * (tensor[None, ..., 1] - 1)))


@pytest.fixture(scope="module")
def head() -> phantom.Phantom:
    return phantom.head(3, slices=4, size_px=96, lesions=2)


def test_a_study_gets_a_map_mask_and_lesions_in_its_shape(head):
    found = segment(head.volume, Bright())
    assert found.probability.shape == found.mask.shape == head.volume.shape
    probability = np.asarray(found.probability)
    assert probability.dtype == np.float32
    assert 0 <= probability.min() <= probability.max() <= 1
    assert np.array_equal(found.mask, probability >= 0.5)
    assert sum(lesion.voxels for lesion in found.lesions) == found.mask.sum() > 0


def test_a_given_threshold_overrides_the_models(head):
    strict, loose = segment(head.volume, Bright(), 0.9), segment(head.volume, Bright(), 0.1)
    assert (strict.point.threshold, loose.point.threshold) == (0.9, 0.1)
    assert strict.mask.sum() < loose.mask.sum()


def test_slices_without_a_head_are_not_predicted(head):
    pixels = head.volume.pixels.copy()
    pixels[0] = 0
    predictor = Bright()
    found = segment(replace(head.volume, pixels=pixels), predictor)
    assert len(predictor.asked) == 3
    assert all(shape[0] == 1 for shape in predictor.asked)
    assert not found.mask[0].any()


def test_a_lazily_restored_map_equals_the_full_map(head):
    whole, kept = predict(head.volume, Bright())["whole"], segment(head.volume, Bright()).probability
    box = (slice(1, 4), slice(20, 50), slice(8, 90))
    assert np.array_equal(np.asarray(kept), whole)
    assert np.array_equal(kept[box], whole[box])
    assert all(np.array_equal(one, other) for one, other in zip(kept, whole, strict=True))


def test_slices_are_reported_in_order_while_others_are_predicted():
    seen: list[tuple[int, np.ndarray]] = []
    volume = phantom.head(5, slices=9, size_px=96, lesions=2).volume
    found = segment(volume, SideBySide().many, on_slice=lambda index, here: seen.append((index, here)))
    assert [index for index, _ in seen] == list(range(9))
    assert np.array_equal(np.stack([here["core"] for _, here in seen]), np.asarray(found.probability))


def test_progress_is_reported_after_every_slice(head):
    reported: list[tuple[int, int]] = []
    segment(head.volume, Bright(), progress=lambda done, total: reported.append((done, total)))
    assert reported == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_an_error_in_the_progress_callback_stops_the_work(head):
    predictor = Bright()

    def stop(done: int, total: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        segment(head.volume, predictor, progress=stop)
    assert len(predictor.asked) == 1


def test_each_slice_can_be_submitted_alone(head):
    for index, single in enumerate(head.volume.single_slices()):
        assert single is not None
        assert single.names == (head.volume.names[index],)
        assert segment(single, Bright()).mask.shape == (1, *head.volume.shape[1:])


def test_a_constant_slice_alone_is_not_a_study(head):
    pixels = head.volume.pixels.copy()
    pixels[1] = 0
    single = list(replace(head.volume, pixels=pixels).single_slices())
    assert [one is None for one in single] == [False, True, False, False]


def test_warnings_of_the_volume_reach_the_result(head):
    thin = replace(head.volume, warnings=("Grey.",), spacing_mm=(3.0, 1.0, 1.0))
    assert segment(thin, Bright()).warnings == ("Grey.", MODEL_WITHOUT_CORE)


def test_thick_slices_state_from_which_size_on_lesions_are_expected_to_be_visible(head):
    thick = replace(head.volume, spacing_mm=(6.5, 1.0, 1.0))
    [*_, warning] = segment(thick, Bright()).warnings
    assert "visible from a diameter of about 6.5 mm on" in warning
    alone = next(thick.single_slices())
    for other in (replace(thick, spacing_mm=None), alone):
        assert not any("apart" in sentence for sentence in segment(other, Bright()).warnings)


def test_components_below_the_models_minimum_are_left_out(head):
    every = segment(head.volume, Bright())
    sizes = sorted(lesion.voxels for lesion in every.lesions)
    voxel_mm3 = float(np.prod(head.volume.spacing_mm))
    found = segment(head.volume, Bright(min_volume_mm3=(sizes[-1] - 0.5) * voxel_mm3))
    assert [lesion.voxels for lesion in found.lesions] == [sizes[-1]]
    assert found.mask.sum() == sizes[-1]
    assert np.array_equal(found.probability, every.probability)


class SideBySide:
    """The tiny model, asked for several slices at once."""

    def __init__(self) -> None:
        model = tiny_model(0.5)
        self.once = OnnxPredictor(tiny_card(model), model, threads=1)
        self.many = OnnxPredictor(tiny_card(model), model, threads=4)


def test_parallel_slices_give_the_map_of_sequential_ones():
    volume, predictors = phantom.head(5, slices=9, size_px=96, lesions=2).volume, SideBySide()
    reported: list[tuple[int, int]] = []
    alone = segment(volume, predictors.once)
    together = segment(volume, predictors.many, progress=lambda done, total: reported.append((done, total)))
    assert (predictors.once.max_concurrency, predictors.many.max_concurrency) == (1, 4)
    assert np.array_equal(alone.probability, together.probability)
    assert reported == [(done, 9) for done in range(1, 10)]


def test_a_cancelled_study_ends_while_slices_are_in_progress():
    def cancel(done: int, total: int) -> None:
        raise Cancelled("gone")

    with pytest.raises(Cancelled):
        segment(phantom.head(5, slices=9, size_px=96).volume, SideBySide().many, progress=cancel)
