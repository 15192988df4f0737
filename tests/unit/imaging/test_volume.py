"""What a volume accepts, so that later steps need not check it."""

import numpy as np
import pytest

from metseg.errors import UnusableImage
from metseg.imaging import Volume


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)


def test_a_volume_has_the_shape_of_its_pixels():
    assert Volume(pixels(2, 16, 20, 3), ("a", "b")).shape == (2, 16, 20)


@pytest.mark.parametrize("shape", [(2, 16, 16), (2, 16, 16, 1), (2, 16, 16, 4)])
def test_pixels_have_slices_rows_columns_and_three_channels(shape):
    with pytest.raises(ValueError, match="must be"):
        Volume(pixels(*shape), ("a", "b"))


@pytest.mark.parametrize("names", [("a",), ("a", "a"), ("a", "b", "c")])
def test_slice_names_are_unique(names):
    with pytest.raises(ValueError, match="unique"):
        Volume(pixels(2, 16, 16, 3), names)


@pytest.mark.parametrize("side", [(1, 1), (15, 40), (40, 15)])
def test_a_slice_too_small_to_show_a_head_is_refused(side):
    with pytest.raises(UnusableImage, match="at least 16"):
        Volume(pixels(1, *side, 3), ("a",))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_non_finite_value_is_refused(value):
    study = pixels(1, 16, 16, 3).astype(np.float32)
    study[0, 3, 4, 1] = value
    with pytest.raises(UnusableImage, match="not finite"):
        Volume(study, ("a",))


def test_a_constant_study_is_refused():
    with pytest.raises(UnusableImage, match="same value"):
        Volume(np.full((2, 16, 16, 3), 7, np.uint8), ("a", "b"))


def test_a_slice_by_itself_stays_where_it_was_in_the_patient():
    affine = np.array([[-0.9, 0, 0.1, 80], [0, -0.9, 0.4, 90], [0, 0.2, 5, -40], [0, 0, 0, 1]])
    volume = Volume(pixels(4, 16, 20, 3), tuple("abcd"), (5, 0.9, 0.9), affine)
    for index, single in enumerate(volume.single_slices()):
        assert single.names == (volume.names[index],)
        assert np.allclose(single.affine @ [3, 2, 0, 1], affine @ [3, 2, index, 1])
