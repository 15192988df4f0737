"""Functions computed once per value equal, bit for bit, NumPy's results per pixel."""

import numpy as np
import pytest

from metseg.imaging import lookup_tables
from metseg.imaging.lookup_tables import apply_lookup_table, histogram, mean_and_deviation, percentiles


def pixels(dtype: type, seed: int, count: int = 5000, highest: int = 255) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, highest + 1, (count, 3)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_function_of_value_and_channel_is_applied_to_every_pixel(dtype):
    volume = pixels(dtype, 0, 4 * 20 * 30).reshape(4, 20, 30, 3)
    low = np.array([3, 100, 0], np.float32)

    def function(values: np.ndarray) -> np.ndarray:
        return ((values - low) / np.float32(7)).clip(0, 9)

    made = apply_lookup_table(volume[:, ::2], function)
    assert made.dtype == np.float32
    assert np.array_equal(made, function(volume[:, ::2]))


@pytest.mark.parametrize("count", [1, 2, 3, 4097])
@pytest.mark.parametrize(("dtype", "highest"), [(np.uint8, 255), (np.uint8, 3), (np.uint16, 65535), (np.float32, 99)])
def test_percentiles_are_numpys(dtype, highest, count):
    wanted = (0, 0.5, 37.3, 50, 99.5, 99.9, 100)
    values = pixels(dtype, count, count, highest)
    assert np.array_equal(percentiles([values], wanted), np.percentile(values, wanted, axis=0))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_percentiles_of_parts_equal_those_of_the_whole(dtype):
    values = pixels(dtype, 2)
    parts = [values[:7], values[7:7], values[7:3000], values[3000:]]
    assert np.array_equal(percentiles(parts, (0.5, 50, 99.5)), np.percentile(values, (0.5, 50, 99.5), axis=0))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_histogram_of_many_values_is_exact(dtype, monkeypatch):
    monkeypatch.setattr(lookup_tables, "MAX_EXACT_COUNT", 1000)
    line = pixels(dtype, 3)[:, 1]  # not contiguous in memory
    assert np.array_equal(histogram(line), np.bincount(line, minlength=np.iinfo(dtype).max + 1))


@pytest.mark.parametrize("count", [1, 2, 1000, 1_000_003])
def test_mean_and_deviation_are_numpys_of_float32(count):
    values = pixels(np.uint8, count, count)
    mean, deviation = mean_and_deviation(np.array_split(values, 3))
    wide = values.astype(np.float32)
    assert np.array_equal(mean, wide.mean(axis=0))
    assert np.array_equal(deviation, wide.std(axis=0))
    assert mean.dtype == deviation.dtype == np.float32
