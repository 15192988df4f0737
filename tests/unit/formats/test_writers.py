import gzip
import io
import time
import zipfile
from typing import get_args

import nibabel
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, ImageSequence

from metseg.errors import NotAvailable, ProcessingFailed
from metseg.formats import ArtefactFormat, read_mask, read_probability, write_mask, write_probability

SHAPES = arrays.array_shapes(min_dims=3, max_dims=3, max_side=12)
MASKS = arrays.arrays(bool, SHAPES)
PROBABILITIES = arrays.arrays(np.float32, SHAPES, elements=st.floats(0, 1, width=32))


def names(mask):
    return [f"s_{number}" for number in range(1, len(mask) + 1)]


def frames(data):
    return np.stack([np.array(frame) for frame in ImageSequence.Iterator(Image.open(io.BytesIO(data)))])


@given(MASKS)
def test_a_stored_mask_is_read_back(mask):
    np.testing.assert_array_equal(read_mask(write_mask(mask, names(mask), "nifti")), mask)


@given(PROBABILITIES)
def test_a_stored_probability_is_read_back(probability):
    back = read_probability(write_probability(probability, "nifti"))
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, probability, atol=0.51 / 65535)


@given(PROBABILITIES)
def test_a_stored_probability_can_be_stored_again_unchanged(probability):
    stored = write_probability(probability, "nifti")
    assert write_probability(read_probability(stored), "nifti") == stored


@pytest.mark.parametrize("format", ["png", "tiff"])
@given(MASKS)
def test_a_mask_has_a_page_per_slice(format, mask):
    pages = frames(write_mask(mask, names(mask), format))
    assert pages.dtype == np.uint8
    np.testing.assert_array_equal(pages, mask * 255)


@given(MASKS)
def test_a_zip_holds_a_mask_per_slice(mask):
    with zipfile.ZipFile(io.BytesIO(write_mask(mask, names(mask), "zip"))) as archive:
        assert archive.namelist() == [f"{name}_mask.png" for name in names(mask)]
        pages = [np.asarray(Image.open(io.BytesIO(archive.read(name)))) for name in archive.namelist()]
    np.testing.assert_array_equal(pages, mask * 255)


@given(PROBABILITIES)
def test_a_probability_has_a_16_bit_page_per_slice(probability):
    with tifffile.TiffFile(io.BytesIO(write_probability(probability, "tiff"))) as file:
        pages = np.stack([page.asarray() for page in file.pages])
    assert pages.dtype == np.uint16
    np.testing.assert_allclose(pages / 65535, probability, atol=0.51 / 65535)


@given(PROBABILITIES)
def test_the_probability_of_one_slice_is_a_16_bit_png(probability):
    page = np.asarray(Image.open(io.BytesIO(write_probability(probability[:1], "png"))))
    assert page.dtype == np.uint16
    np.testing.assert_allclose(page / 65535, probability[0], atol=0.51 / 65535)


def test_the_probability_of_several_slices_is_not_available_as_png():
    with pytest.raises(NotAvailable, match="zip, tiff or nifti"):
        write_probability(np.zeros((2, 20, 24), np.float32), "png")


@pytest.mark.parametrize("format", ["dicom-seg", "jpeg"])
def test_an_unknown_format_is_not_available(format):
    with pytest.raises(NotAvailable, match="png, tiff, nifti, zip"):
        write_mask(np.zeros((2, 20, 24), bool), ["a", "b"], format)


@given(PROBABILITIES)
def test_the_zip_of_a_probability_has_a_16_bit_png_per_slice(probability):
    stems = names(probability)
    with zipfile.ZipFile(io.BytesIO(write_probability(probability, "zip", names=stems))) as archive:
        assert archive.namelist() == [f"{name}_probability.png" for name in stems]
        pages = np.stack([np.asarray(Image.open(io.BytesIO(archive.read(name)))) for name in archive.namelist()])
    assert pages.dtype == np.uint16
    np.testing.assert_allclose(pages / 65535, probability, atol=0.51 / 65535)


def test_nifti_has_column_row_slice_and_the_spacing():
    mask = np.zeros((3, 20, 24), bool)
    mask[2, 5, 7] = True
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(write_mask(mask, "abc", "nifti", spacing_mm=(5, 2, 1))))
    assert image.shape == (24, 20, 3)
    assert image.header.get_zooms() == (1, 2, 5)
    assert image.header.get_xyzt_units()[0] == "mm"
    assert image.get_data_dtype() == np.uint8
    assert np.argwhere(image.dataobj).tolist() == [[7, 5, 2]]
    assert image.header["sform_code"] == image.header["qform_code"] == 0


def test_nifti_keeps_the_affine():
    affine = np.array([[-1, 0, 0, 90], [0, -2, 0, 126], [0, 0, 5, -72], [0, 0, 0, 1.0]])
    probability = np.linspace(0, 1, 3 * 20 * 24, dtype=np.float32).reshape(3, 20, 24)
    data = write_probability(probability, "nifti", affine=affine, spacing_mm=(5, 2, 1))
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(data))
    np.testing.assert_array_equal(image.affine, affine)
    np.testing.assert_allclose(image.get_fdata().transpose(), probability, atol=1e-5)


@pytest.mark.parametrize("format", get_args(ArtefactFormat))
def test_equal_masks_give_equal_bytes_at_any_time(format, monkeypatch):
    mask = np.random.default_rng(0).random((3, 20, 24)) > 0.8
    first = write_mask(mask, "abc", format)
    later = time.time() + 1e6
    monkeypatch.setattr(time, "time", lambda: later)
    assert write_mask(mask, "abc", format) == first


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-9],
        lambda data: data[:20],
        lambda data: b"?" + data,
        lambda _: gzip.compress(b"?" * 999),
        lambda _: b"",
    ],
)
def test_a_damaged_artefact_is_reported_as_such(damage):
    data = write_mask(np.eye(20, dtype=bool)[np.newaxis], ["a"], "nifti")
    for back in (read_mask, read_probability):
        with pytest.raises(ProcessingFailed):
            back(damage(data))
