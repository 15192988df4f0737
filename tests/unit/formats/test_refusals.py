"""Each refusal has its own type, as early as possible."""

import bz2
import gzip
import io
import struct
import zlib

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image
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
    uploads,
    zipped,
)

from metseg.errors import (
    EmptyUpload,
    ImageTooLarge,
    InvalidParameter,
    MixedSizes,
    TooManyFiles,
    UnreadableImage,
    UnsupportedFormat,
    UnusableImage,
    UploadTooLarge,
)
from metseg.formats import inspect_upload, read_volume
from metseg.formats.raster.decoders import decode_with_opencv
from metseg.settings import Limits


def refused(error, *data, limits=LIMITS):
    """Both refuse, with the same sentence."""
    sent = [upload(item, f"{number}.png") for number, item in enumerate(data)]
    with pytest.raises(error) as at_the_gateway:
        inspect_upload(sent, limits)
    with pytest.raises(error) as in_the_worker:
        read_volume(sent, limits)
    assert at_the_gateway.type is error
    assert at_the_gateway.value.detail == in_the_worker.value.detail
    return at_the_gateway.value.detail


def damaged(data):
    """The header is valid, so only the worker can detect it."""
    inspect_upload([upload(data)], LIMITS)
    with pytest.raises(UnreadableImage) as caught:
        read_volume([upload(data)], LIMITS)
    assert "damaged" in caught.value.detail


def test_no_file_is_an_empty_upload():
    refused(EmptyUpload)


def test_a_file_of_zero_bytes_is_an_empty_upload():
    refused(EmptyUpload, png(), b"")


def test_text_named_png_is_not_supported():
    assert "whatever its name" in refused(UnsupportedFormat, b"I am a picture, trust me.\n" * 50)


@pytest.mark.parametrize("format", ["GIF", "BMP", "WEBP", "JPEG2000"])
def test_an_image_of_another_format_is_not_supported(format):
    refused(UnsupportedFormat, pillow(noise(20, 24), format))


def test_a_dicom_file_without_an_image_is_refused():
    assert "DICOM" in refused(UnsupportedFormat, bytes(128) + b"DICM" + bytes(200))


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("order", ["<", ">"])
def test_half_of_a_nifti_pair_is_recognised_and_refused(pack, order):
    header = nibabel.Nifti1Pair.header_class(endianness=order)
    header.set_data_shape((20, 24, 3))
    target = io.BytesIO()
    header.write_to(target)
    assert ".nii" in refused(UnsupportedFormat, pack(target.getvalue() + bytes(20 * 24 * 12)))


@pytest.mark.parametrize(
    "data", [gzip.compress(b"something else" * 99, mtime=0), b"\x1f\x8b" + bytes(99), b"\x1f\x8b\xff\xff"]
)
def test_other_gzip_files_are_not_supported(data):
    assert "whatever its name" in refused(UnsupportedFormat, data)


def test_a_vast_png_is_refused_by_its_header():
    assert "30000 x 30000" in refused(ImageTooLarge, png_header(30000, 30000))


def test_a_vast_jpeg_is_refused_by_its_header():
    data = bytearray(pillow(noise(20, 24), "JPEG"))
    start = data.index(b"\xff\xc0")
    data[start + 5 : start + 9] = struct.pack(">HH", 65500, 65500)
    refused(ImageTooLarge, bytes(data))


def test_a_vast_tiff_is_refused_by_its_tags():
    refused(ImageTooLarge, hand_made_tiff({256: 30000, 257: 30000}))


def test_a_tiff_of_vast_tiles_is_refused():
    refused(ImageTooLarge, hand_made_tiff({256: 20, 257: 20, 322: 2**20, 323: 2**20}))


def test_a_volume_of_too_many_pixels_is_too_large():
    refused(ImageTooLarge, tiff(noise(5, 20, 24)), limits=Limits(volume_pixels=4 * 20 * 24))


def test_more_pixels_than_pillow_decodes_are_too_large(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ImageTooLarge):
        read_volume([upload(tiff(noise(20, 24)))], LIMITS)


def test_an_image_of_one_pixel_is_unusable():
    refused(UnusableImage, png(np.zeros((1, 1), np.uint8)))


def test_a_constant_image_is_unusable():
    with pytest.raises(UnusableImage):
        read_volume([upload(png(np.full((20, 24), 7, np.uint8)))], LIMITS)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_an_image_with_a_non_finite_value_is_unusable(value):
    grey = noise(20, 24, dtype="float64")
    grey[3, 4] = value
    with pytest.raises(UnusableImage):
        read_volume([upload(tiff(grey))], LIMITS)


def test_slices_of_different_sizes_are_refused():
    refused(MixedSizes, png(noise(20, 24)), png(noise(20, 25)))


def test_slices_of_different_bit_depths_are_refused():
    refused(MixedSizes, png(noise(20, 24)), png(noise(20, 24, dtype="uint16")))


def test_pages_of_different_sizes_are_refused():
    target = io.BytesIO()
    with tifffile.TiffWriter(target) as writer:
        for columns in (24, 25):
            writer.write(noise(20, columns), photometric="minisblack")
    refused(MixedSizes, target.getvalue())


def test_several_multi_page_tiffs_are_refused():
    refused(MixedSizes, tiff(noise(3, 20, 24)), tiff(noise(3, 20, 24)))


def test_too_many_files_are_refused():
    refused(TooManyFiles, *[png()] * 4, limits=Limits(files=3))


def test_too_many_slices_are_refused():
    refused(TooManyFiles, tiff(noise(4, 20, 24)), limits=Limits(slices=3))


def test_counting_pages_stops_at_the_limit():
    assert "more than 6 pages" in refused(TooManyFiles, tiff(noise(9, 20, 24)), limits=Limits(slices=3))


def test_too_many_bytes_are_refused():
    refused(UploadTooLarge, png(), png(), limits=Limits(upload_bytes=len(png()) + 9))


def test_files_with_and_without_a_role_do_not_mix():
    with pytest.raises(InvalidParameter):
        inspect_upload([*uploads(a=png()), upload(png(), "b.png", "flair")], LIMITS)


@pytest.mark.parametrize("kept", [9, 20, 32])
def test_a_png_truncated_in_its_header_is_unreadable(kept):
    refused(UnreadableImage, png()[:kept])


def test_a_png_with_a_damaged_header_is_unreadable():
    data = bytearray(png())
    data[19] ^= 1
    refused(UnreadableImage, bytes(data))


@pytest.mark.parametrize("data", [png(), deep_png(noise(20, 24, 3, dtype="uint16"))], ids=["shallow", "deep"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_png_truncated_in_its_pixels_is_unreadable(data, share):
    damaged(data[: int(len(data) * share)])


@pytest.mark.parametrize("data", [png(), deep_png(noise(20, 24, 3, dtype="uint16"))], ids=["shallow", "deep"])
def test_a_png_with_a_flipped_bit_in_its_pixels_is_unreadable(data):
    flipped = bytearray(data)
    flipped[-40] ^= 1
    damaged(bytes(flipped))


def test_a_png_with_pixels_that_opencv_cannot_decode_is_unreadable():
    damaged(png_header(24, 20, bits=16, colour=2) + chunk(b"IDAT", b"nothing") + chunk(b"IEND", b""))


def test_a_jpeg_truncated_in_its_header_is_unreadable():
    refused(UnreadableImage, pillow(noise(20, 24), "JPEG")[:60])


@pytest.mark.parametrize("kept", [0.4, 0.7, 0.95])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 4}], ids=str)
def test_a_jpeg_whose_data_end_early_is_unreadable(options, kept):
    data = pillow(noise(60, 64), "JPEG", **options)
    start = data.index(b"\xff\xda")
    cut = data[: start + int(kept * (len(data) - start))].rstrip(b"\xff")
    with pytest.raises(UnreadableImage, match="JPEG"):
        read_volume([upload(cut + b"\xff\xd9")], LIMITS)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 4}, {"quality": 5}], ids=str)
@pytest.mark.parametrize("behind", [b"", b"\0" * 100, b"\xff\xd9"], ids=["nothing", "zeros", "another end"])
def test_a_complete_jpeg_is_read_whatever_is_behind_it(options, behind):
    for shape in ((60, 64), (33, 47), (33, 47, 3)):
        assert read_volume([upload(pillow(noise(*shape), "JPEG", **options) + behind)], LIMITS).shape[0] == 1


def test_a_jpeg_truncated_in_its_pixels_is_unreadable():
    data = pillow(noise(60, 64), "JPEG")
    damaged(data[: len(data) // 2])


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}])
def test_a_tiff_truncated_in_its_pixels_is_unreadable(dtype, options):
    data = tiff(noise(60, 64, dtype=dtype), **options)
    damaged(data[: len(data) - 2000])


@pytest.mark.parametrize("kept", [4, 6, 9, 30])
def test_a_tiff_truncated_in_its_tags_is_unreadable(kept):
    refused(UnreadableImage, tiff(noise(20, 24))[:kept])


def hand_made_tiff(tags, *, type_=4, count=1, next_=0, repeat=1):
    """A TIFF of tags alone; `tags` may be a list of pairs."""
    pairs = sorted(tags.items()) if isinstance(tags, dict) else tags
    entries = b"".join(struct.pack("<HHII", tag, type_, count, value) for tag, value in pairs)
    return b"II*\x00" + struct.pack("<IH", 8, len(pairs) * repeat) + entries * repeat + struct.pack("<I", next_)


SIZE = {256: 20, 257: 24}


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"II*\x00" + bytes(8), id="no page"),
        pytest.param(hand_made_tiff({}), id="no tag"),
        pytest.param(hand_made_tiff(SIZE, repeat=300), id="too many tags"),
        pytest.param(hand_made_tiff({256: 20}), id="no height"),
        pytest.param(hand_made_tiff([(256, 20), (256, 21), (257, 24)]), id="two widths"),
        pytest.param(hand_made_tiff(SIZE, type_=2), id="a width in letters"),
        pytest.param(hand_made_tiff(SIZE, count=0), id="a width without a value"),
        pytest.param(hand_made_tiff(SIZE, count=2**30), id="a width of a billion values"),
        pytest.param(hand_made_tiff(SIZE, count=9), id="a width beyond the end"),
        pytest.param(hand_made_tiff(SIZE, next_=8), id="a circle"),
        pytest.param(hand_made_tiff(SIZE | {258: 8}, next_=2**31), id="a next page beyond the end"),
        pytest.param(b"II+\x00\x08\x00\x00\x00" + b"\xff" * 8, id="a first page beyond any file"),
        pytest.param(hand_made_tiff(SIZE | {254: 1}), id="only a thumbnail"),
    ],
)
def test_a_tiff_with_damaged_tags_is_unreadable(data):
    refused(UnreadableImage, data)


@pytest.mark.parametrize(
    "tags",
    [
        pytest.param({258: 12}, id="12 bits"),
        pytest.param({258: 16, 339: 3}, id="half floats"),
        pytest.param({258: 8, 339: 2}, id="signed bytes"),
        pytest.param({258: 32, 339: 6}, id="complex numbers"),
        pytest.param({258: 8, 259: 50000}, id="a private codec"),
        pytest.param({258: 8, 277: 5}, id="five samples"),
        pytest.param({258: 16, 277: 2}, id="deep grey with alpha"),
        pytest.param({258: 16, 277: 3, 262: 2, 284: 2}, id="deep planes"),
        pytest.param({258: 16, 277: 3, 262: 8}, id="deep CIELab"),
        pytest.param({258: 32, 339: 3, 262: 0}, id="floats whose zero is white"),
        pytest.param({258: 16, 259: 7}, id="deep JPEG"),
    ],
)
def test_an_undecodable_tiff_is_refused_by_its_tags(tags):
    refused(UnsupportedFormat, hand_made_tiff(SIZE | tags))


def test_samples_of_different_bit_depths_are_refused():
    stored = bytearray(tiff(noise(20, 24, 3)))
    bits = stored.index(struct.pack("<HHH", 8, 8, 8))
    stored[bits : bits + 2] = struct.pack("<H", 4)
    refused(UnsupportedFormat, bytes(stored))


@pytest.mark.parametrize("second", [png_header(2000, 2000, 16), png_header(24, 20)], ids=["larger", "shallower"])
def test_a_second_png_header_cannot_smuggle_in_another_image(second):
    rows = zlib.compress((noise(20, 49) % 3).tobytes())  # 16 bits, and 8 bits too
    damaged(png_header(24, 20, bits=16) + second[8:] + chunk(b"IDAT", rows) + chunk(b"IEND", b""))


def test_a_tiff_with_pixels_beyond_the_file_is_unreadable():
    data = bytearray(tiff(noise(20, 24), bigtiff=True))
    strip_offsets = data.index(struct.pack("<HHQ", 273, 16, 1)) + 12
    data[strip_offsets : strip_offsets + 8] = struct.pack("<Q", 2**63)
    damaged(bytes(data))


def test_a_png_too_large_for_opencv_is_unreadable():
    limits = Limits(slice_pixels=2**26)
    header = png_header(2**21, 16, bits=16, colour=2)
    data = header + chunk(b"IDAT", b"nothing") + chunk(b"IEND", b"")
    assert inspect_upload([upload(data)], limits).columns == 2**21
    with pytest.raises(UnreadableImage):
        read_volume([upload(data)], limits)


def test_no_bytes_are_unreadable_for_opencv():
    with pytest.raises(UnreadableImage):
        decode_with_opencv(np.empty(0, np.uint8))


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (gzip.compress(b"\0\0\0\x01" + bytes(300), mtime=0), "FreeSurfer"),
        (gzip.compress(bytes(128) + b"DICM" + bytes(200), mtime=0), "DICOM compressed by gzip"),
        (b"\x5c\x01\0\0" + bytes(344), "Analyze"),
        (bz2.compress(bytes(400)), "bzip2"),
        (gzip.compress(bytes(257) + b"ustar" + bytes(300), mtime=0), "tar"),
        (b"RIFF\x10\0\0\0WEBPVP8 " + bytes(20), "WebP"),
        (b"BM" + bytes(60), "BMP"),
    ],
    ids=["mgz", "dicom", "analyze", "bzip2", "tar", "webp", "bmp"],
)
@pytest.mark.parametrize("packed", [False, True])
def test_an_unsupported_format_is_refused_by_name(content, named, packed):
    sent = zipped({"x": content}) if packed else content
    with pytest.raises(UnsupportedFormat, match=named):
        inspect_upload([upload(sent)], LIMITS)
