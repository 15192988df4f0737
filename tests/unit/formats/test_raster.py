import io
import zlib

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps
from tests.unit.pictures import (
    LIMITS,
    chunk,
    deep_png,
    noise,
    pillow,
    png,
    png_header,
    tiff,
    upload,
)

from metseg.errors import UnsupportedFormat
from metseg.formats import inspect_upload, read_volume
from metseg.formats.raster.study import COLOUR_JPEG_WARNING

SIDES = st.integers(16, 40)


def pixels_of(data, slices=1):
    """The decoded slices; `inspect` must give the same shape."""
    volume = read_volume([upload(data)], LIMITS)
    seen = inspect_upload([upload(data)], LIMITS)
    assert (seen.slices, seen.rows, seen.columns) == volume.shape
    assert seen.source == volume.source
    assert len(volume.pixels) == slices
    return volume.pixels


def stacked(grey):
    return np.repeat(grey[..., np.newaxis], 3, axis=-1)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@given(rows=SIDES, columns=SIDES, seed=st.integers(0, 99))
def test_a_grey_png_keeps_every_bit(dtype, rows, columns, seed):
    grey = noise(rows, columns, dtype=dtype, seed=seed)
    [pixels] = pixels_of(png(grey))
    assert pixels.dtype == dtype
    np.testing.assert_array_equal(pixels, stacked(grey))


@pytest.mark.parametrize("samples", [3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@given(rows=SIDES, columns=SIDES)
def test_a_coloured_png_keeps_every_bit_and_loses_its_alpha(dtype, samples, rows, columns):
    colours = noise(rows, columns, samples, dtype=dtype)
    [pixels] = pixels_of(png(colours) if dtype == "uint8" else deep_png(colours))
    assert pixels.dtype == dtype
    np.testing.assert_array_equal(pixels, colours[..., :3])


def test_a_grey_png_with_alpha_loses_its_alpha():
    pair = noise(20, 24, 2)
    [pixels] = pixels_of(pillow(Image.fromarray(pair, "LA")))
    np.testing.assert_array_equal(pixels, stacked(pair[..., 0]))


def test_a_grey_png_of_16_bits_with_alpha_loses_its_alpha():
    pair = noise(20, 24, 2, dtype="uint16")
    rows = b"".join(b"\x00" + row.astype(">u2").tobytes() for row in pair)
    data = png_header(24, 20, bits=16, colour=4) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    [pixels] = pixels_of(data)
    np.testing.assert_array_equal(pixels, stacked(pair[..., 0]))


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_black_and_white_become_0_and_255(format):
    drawn = noise(20, 24) > 127
    [pixels] = pixels_of(pillow(drawn, format))
    np.testing.assert_array_equal(pixels, stacked(drawn * np.uint8(255)))


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_a_palette_is_resolved_to_colours(format):
    image = Image.fromarray(noise(20, 24, 3)).quantize(16)
    [pixels] = pixels_of(pillow(image, format))
    np.testing.assert_array_equal(pixels, np.asarray(image.convert("RGB")))


def test_a_transparent_palette_is_resolved_to_colours():
    image = Image.fromarray(noise(20, 24, 3)).quantize(16)
    [pixels] = pixels_of(pillow(image, transparency=bytes(range(16))))
    np.testing.assert_array_equal(pixels, np.asarray(image.convert("RGB")))


def test_a_4_bit_png_spans_the_whole_range():
    levels = noise(20, 24) % 16
    rows = b"".join(b"\x00" + (row[::2] << 4 | row[1::2]).tobytes() for row in levels)
    data = png_header(24, 20, bits=4) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    [pixels] = pixels_of(data)
    np.testing.assert_array_equal(pixels, stacked(levels * 17))


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_jpeg_decodes_as_pillow_shows_it(mode):
    data = pillow(Image.fromarray(noise(20, 24, 3)).convert(mode), "JPEG")
    [pixels] = pixels_of(data)
    np.testing.assert_array_equal(pixels, np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize(
    ("pixels", "format", "warned"),
    [(noise(20, 24, 3), "JPEG", True), (noise(20, 24), "JPEG", False), (noise(20, 24, 3), "PNG", False)],
    ids=["colour JPEG", "grey JPEG", "colour PNG"],
)
def test_only_a_jpeg_in_colour_has_the_warning_that_its_sequences_mix(pixels, format, warned):
    volume = read_volume([upload(pillow(pixels, format))], LIMITS)
    assert (COLOUR_JPEG_WARNING in volume.warnings) is warned


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_is_rotated_by_its_exif_orientation(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = pillow(noise(20, 36, 3), "JPEG", exif=exif)
    [pixels] = pixels_of(data)
    np.testing.assert_array_equal(pixels, np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data)))))


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_tiff_of_any_depth_is_rotated_by_its_orientation_tag(orientation, dtype, samples):
    stored = noise(20, 36, samples, dtype=dtype)
    [pixels] = pixels_of(tiff(stored.squeeze(), extratags=[(274, "H", 1, orientation, True)]))
    places = Image.fromarray(np.arange(20 * 36, dtype=np.int32).reshape(20, 36))
    places.getexif()[0x0112] = orientation
    shown = stored.reshape(-1, samples)[np.asarray(ImageOps.exif_transpose(places))]
    np.testing.assert_array_equal(pixels, np.broadcast_to(shown, pixels.shape))


def test_a_rotated_image_has_a_warning():
    exif = Image.Exif()
    exif[0x0112] = 6
    volume = read_volume([upload(pillow(noise(20, 36, 3), "JPEG", exif=exif))], LIMITS)
    assert any("orientation" in warning for warning in volume.warnings)


@pytest.mark.parametrize(
    "exif", [b"Exif\x00\x00", b"Exif\x00\x00II*\x00\x00\x00\x00\x00", b"Exif\x00\x00II*\x00\xff\xff\x00\x00"]
)
def test_a_jpeg_with_damaged_exif_data_is_not_rotated(exif):
    [pixels] = pixels_of(pillow(noise(20, 36), "JPEG", exif=exif))
    assert pixels.shape == (20, 36, 3)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "zlib"},
        {"tile": (16, 16)},
        {"bigtiff": True},
        {"byteorder": ">"},
        {"compression": "zlib", "predictor": True},
    ],
)
@pytest.mark.parametrize("samples", [1, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_a_tiff_keeps_every_bit(dtype, samples, options):
    if dtype == "float32":
        options = {key: value for key, value in options.items() if key != "predictor"}
    stored = noise(20, 24, samples, dtype=dtype).squeeze()
    [pixels] = pixels_of(tiff(stored, **options))
    assert pixels.dtype == dtype
    np.testing.assert_array_equal(pixels, stacked(stored) if samples == 1 else stored[..., :3])


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@given(slices=st.integers(1, 5), rows=SIDES, columns=SIDES)
def test_a_tiff_of_several_pages_is_a_volume(dtype, slices, rows, columns):
    stored = noise(slices, rows, columns, dtype=dtype)
    np.testing.assert_array_equal(pixels_of(tiff(stored), slices), stacked(stored))


@pytest.mark.parametrize("codec", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_a_compressed_tiff_of_several_pages_keeps_every_bit(dtype, codec):
    stored = noise(3, 20, 24, dtype=dtype)
    first, *others = map(Image.fromarray, stored)
    data = pillow(first, "TIFF", save_all=True, append_images=others, compression=codec)
    np.testing.assert_array_equal(pixels_of(data, 3), stacked(stored))


def test_a_fax_tiff_is_read():
    drawn = noise(20, 24) > 127
    [pixels] = pixels_of(pillow(drawn, "TIFF", compression="group4"))
    np.testing.assert_array_equal(pixels[..., 0] > 0, drawn)


def test_a_jpeg_in_a_tiff_is_read():
    smooth = np.linspace(0, 255, 20 * 24).reshape(20, 24).astype(np.uint8)
    [pixels] = pixels_of(pillow(smooth, "TIFF", compression="jpeg"))
    np.testing.assert_allclose(pixels[..., 0], smooth, atol=16)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_white_is_zero_tiff_is_inverted(dtype):
    stored = noise(20, 24, dtype=dtype)
    [pixels] = pixels_of(tiff(stored, photometric="miniswhite"))
    np.testing.assert_array_equal(pixels[..., 0], np.iinfo(dtype).max - stored)


def test_separate_8_bit_planes_are_combined():
    planes = noise(3, 20, 24)
    [pixels] = pixels_of(tiff(planes, photometric="rgb", planarconfig="separate"))
    np.testing.assert_array_equal(pixels, np.moveaxis(planes, 0, -1))


@pytest.mark.parametrize("dtype", ["int16", "int32", "uint32", "float64"])
def test_other_sample_types_become_float32(dtype):
    stored = noise(20, 24, dtype=dtype)
    [pixels] = pixels_of(tiff(stored))
    assert pixels.dtype == np.float32
    np.testing.assert_array_equal(pixels[..., 0], stored.astype(np.float32))


def test_thumbnails_in_a_tiff_are_skipped():
    stored = noise(40, 48)
    target = io.BytesIO()
    with tifffile.TiffWriter(target) as writer:
        writer.write(stored[::2, ::2], subfiletype=1, photometric="minisblack")
        writer.write(stored, photometric="minisblack")
    [pixels] = pixels_of(target.getvalue())
    np.testing.assert_array_equal(pixels[..., 0], stored)


def test_an_animated_png_shows_its_first_frame():
    frames = [Image.fromarray(noise(20, 24, seed=seed)) for seed in range(3)]
    [pixels] = pixels_of(pillow(frames[0], save_all=True, append_images=frames[1:]))
    np.testing.assert_array_equal(pixels[..., 0], np.asarray(frames[0]))


@pytest.mark.parametrize(
    ("shape", "axes"),
    [((36, 3, 20, 24), "ZCYX"), ((3, 12, 20, 24), "TZYX"), ((2, 20, 24), "CYX"), ((2, 20, 24), "TYX")],
)
@pytest.mark.parametrize("kind", ["imagej", "ome"])
def test_a_hyperstack_is_refused_by_name(shape, axes, kind):
    target = io.BytesIO()
    tifffile.imwrite(target, noise(*shape, dtype="uint16"), **{kind: True}, metadata={"axes": axes})
    with pytest.raises(UnsupportedFormat, match="hyperstack"):
        read_volume([upload(target.getvalue(), "x.tif")], LIMITS)


def test_a_single_directory_stack_is_refused_by_name():
    target = io.BytesIO()
    tifffile.imwrite(target, noise(20, 24), description="ImageJ=1.54f\nimages=36\nslices=36\n", metadata=None)
    with pytest.raises(UnsupportedFormat, match="36 images"):
        read_volume([upload(target.getvalue(), "x.tif")], LIMITS)


@pytest.mark.parametrize("kind", ["imagej", "ome"])
def test_a_plain_stack_of_imagej_and_ome_is_read(kind):
    target, pixels = io.BytesIO(), noise(6, 20, 24, dtype="uint16")
    tifffile.imwrite(target, pixels, **{kind: True}, metadata={"axes": "ZYX"})
    assert np.array_equal(read_volume([upload(target.getvalue(), "x.tif")], LIMITS).pixels[..., 0], pixels)
