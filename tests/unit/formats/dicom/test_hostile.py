"""Malicious DICOM: oversized headers, false sizes, endless structures. Work is bounded, errors are typed."""

import contextlib
import io
import struct
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, JPEGLSLossless, RLELossless
from tests.dicoms import LIMITS, uploads, volume_of

from metseg.errors import BadInput, TooManyFiles, UnreadableImage
from metseg.formats import Upload, inspect_upload
from metseg.formats.dicom import deidentify_uploads
from metseg.phantom import head
from metseg.phantom.dicom import SERIES_PARAMETERS, enhanced_file, series_files
from metseg.settings import MIB

MOST_S = 20.0
MOST_MIB = 200


@pytest.fixture(scope="module")
def slice_file():
    phantom = head(5, slices=2, size_px=64)
    pixels = phantom.volume.pixels[..., 1].astype(np.uint16)
    return next(iter(series_files(pixels, phantom.volume.affine, SERIES_PARAMETERS["flair"]).values()))


@pytest.mark.parametrize("value", ["1e-300", "1e300", "5e-324", "-1e-300", "0", "99999"])
@pytest.mark.parametrize("keyword", ["PixelSpacing", "SliceThickness", "ImagePositionPatient", "RescaleSlope"])
def test_numbers_far_outside_any_scanner_are_read_or_refused(slice_file, keyword, value):
    count = {"PixelSpacing": 2, "ImagePositionPatient": 3}.get(keyword, 1)
    changed = rewritten(slice_file, **{keyword: [value] * count if count > 1 else value})
    for read in (lambda: inspect_upload(uploads({"a.dcm": changed}), LIMITS), lambda: volume_of({"a.dcm": changed})):
        with contextlib.suppress(BadInput):
            read()


@pytest.mark.parametrize("kept", [0.4, 0.95, 1])
def test_a_jpeg_whose_data_end_early_is_refused(slice_file, kept):
    target = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)).save(target, "JPEG")
    whole = target.getvalue()
    start = whole.index(b"\xff\xda")
    code_stream = whole[: start + int(kept * (len(whole) - start))].rstrip(b"\xff\xd9") + b"\xff\xd9"
    depth = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelData": encapsulate([code_stream])}
    changed = rewritten(slice_file, syntax=JPEGBaseline8Bit, **depth)
    expected = contextlib.nullcontext() if kept == 1 else pytest.raises(UnreadableImage)
    with expected:
        assert volume_of({"a.dcm": changed}).shape == (1, 64, 64)


def test_a_file_that_is_read_slowly_keeps_no_other_waiting(slice_file):
    reached, resume = threading.Event(), threading.Event()

    class Slow(io.BytesIO):
        def read(self, size=-1):
            reached.set()
            resume.wait(60)
            return super().read(size)

    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(inspect_upload, [Upload("a.dcm", Slow(slice_file))], LIMITS)
        try:
            assert reached.wait(60)
            assert volume_of({"b.dcm": slice_file}).shape == (1, 64, 64)
            assert not slow.done()
        finally:
            resume.set()
        assert slow.result().slices == 1


def rewritten(content, **elements):
    found = pydicom.dcmread(io.BytesIO(content))
    for keyword, value in elements.items():
        if keyword == "syntax":
            found.file_meta.TransferSyntaxUID = value
        else:
            setattr(found, keyword, value)
    if "syntax" in elements:
        found["PixelData"].VR = "OB"
        found["PixelData"].is_undefined_length = True
    target = io.BytesIO()
    found.save_as(target, enforce_file_format=True)
    return target.getvalue()


def spliced(content, raw):
    """The file with raw bytes in place of its first element."""
    start = content.index(b"\x08\x00\x08\x00CS")
    return content[:start] + raw + content[start:]


def refused(content, kind=BadInput):
    """The refusal of a file, with little memory and in time, by the gateway or by the worker."""
    began = time.monotonic()
    tracemalloc.start()
    try:
        with pytest.raises(kind) as caught:
            volume_of({"x": content})
        with pytest.raises(kind), deidentify_uploads(uploads({"x": content}), LIMITS):
            pass
        assert tracemalloc.get_traced_memory()[1] < MOST_MIB * MIB
    finally:
        tracemalloc.stop()
    assert time.monotonic() - began < MOST_S
    return caught.value.detail


def test_endlessly_nested_sequences_are_refused(slice_file):
    deep = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    refused(spliced(slice_file, deep * 20_000), UnreadableImage)


def test_a_sequence_of_a_million_items_is_refused(slice_file):
    items = struct.pack("<HHI", 0xFFFE, 0xE000, 0) * 1_000_000
    end = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    for length, tail in ((0xFFFFFFFF, end), (len(items), b"")):
        raw = struct.pack("<HH2sHI", 0x0018, 0x0012, b"SQ", 0, length) + items + tail
        began = time.monotonic()
        with pytest.raises(UnreadableImage):
            inspect_upload(uploads({"x": spliced(slice_file, raw)}), LIMITS)
        assert time.monotonic() - began < MOST_S


def test_an_oversized_header_is_refused(slice_file):
    raw = struct.pack("<HH2sHI", 0x0008, 0x103E, b"UT", 0, 64 * MIB) + b"x" * (64 * MIB)
    with pytest.raises(UnreadableImage, match="header"):
        inspect_upload(uploads({"x": spliced(slice_file, raw)}), LIMITS)


def test_a_length_beyond_the_file_is_refused(slice_file):
    refused(spliced(slice_file, struct.pack("<HH2sHI", 0x0008, 0x0005, b"UT", 0, 0xFFFFFFF0) + b"x"), BadInput)


@pytest.mark.parametrize(("rows", "columns"), [(65535, 65535), (65535, 64)])
def test_a_header_with_vast_sizes_is_refused_before_allocation(slice_file, rows, columns):
    found = pydicom.dcmread(io.BytesIO(slice_file))
    raw = slice_file.replace(
        b"\x28\x00\x10\x00US\x02\x00" + struct.pack("<H", found.Rows),
        b"\x28\x00\x10\x00US\x02\x00" + struct.pack("<H", rows),
    ).replace(
        b"\x28\x00\x11\x00US\x02\x00" + struct.pack("<H", found.Columns),
        b"\x28\x00\x11\x00US\x02\x00" + struct.pack("<H", columns),
    )
    assert raw != slice_file
    tracemalloc.start()
    with pytest.raises(BadInput):
        volume_of({"x": raw})
    assert tracemalloc.get_traced_memory()[1] < 10 * MIB
    tracemalloc.stop()


def test_too_many_frames_are_refused_by_the_header(slice_file):
    with pytest.raises(TooManyFiles):
        inspect_upload(uploads({"x": rewritten(slice_file, NumberOfFrames=2_000_000)}), LIMITS)


def test_undescribed_frames_are_refused():
    phantom = head(5, slices=4, size_px=64)
    pixels = phantom.volume.pixels[..., 1].astype(np.uint16)
    refused(
        rewritten(enhanced_file(pixels, phantom.volume.affine, SERIES_PARAMETERS["flair"]), NumberOfFrames=5), BadInput
    )


@pytest.mark.parametrize(
    ("syntax", "coded"),
    [
        (JPEGBaseline8Bit, b"\xff\xd8\xff\xc0\x00\x11\x08\xff\xff\xff\xff\x01\x01\x11\x00" + bytes(64)),
        (JPEGLSLossless, b"\xff\xd8\xff\xf7\x00\x0b\x10\xff\xff\xff\xff\x01\x01\x11\x00" + bytes(64)),
        (
            JPEG2000Lossless,
            b"\xff\x4f\xff\x51\x00\x29\x00\x00"
            + struct.pack(">IIIIIIII", 60000, 60000, 0, 0, 60000, 60000, 0, 0)
            + bytes(64),
        ),
        (JPEG2000Lossless, b"nothing of the kind" * 5),
        (JPEGLSLossless, b"\xff\xd8" + b"\xff\xe0\x00\x02" * 1000),
        (RLELossless, struct.pack("<16I", 15, *range(64, 79)) + b"\x81\x00" * 50),
    ],
)
def test_a_code_stream_unlike_its_header_is_refused(slice_file, syntax, coded):
    content = rewritten(slice_file, syntax=syntax, PixelData=encapsulate([coded]))
    began = time.monotonic()
    with pytest.raises(UnreadableImage):
        volume_of({"x": content})
    assert time.monotonic() - began < MOST_S


def test_an_encapsulated_file_that_ends_within_an_item_is_refused(slice_file):
    content = rewritten(slice_file, syntax=RLELossless, PixelData=encapsulate([bytes(100)]))[:-60]
    with pytest.raises(UnreadableImage):
        volume_of({"x": content})
    with pytest.raises(UnreadableImage), deidentify_uploads(uploads({"x": content}), LIMITS):
        pass


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PixelSpacing", [0, 0]),
        ("PixelSpacing", [1e300, 1e300]),
        ("ImagePositionPatient", ["nan", "inf", "0"]),
        ("ImageOrientationPatient", [0, 0, 0, 0, 0, 0]),
        ("RescaleSlope", "1e308"),
        ("SeriesNumber", "99999999999"),
    ],
)
def test_meaningless_numbers_are_read_or_refused_with_a_sentence(slice_file, keyword, value):
    target = io.BytesIO()
    with pydicom.config.disable_value_validation():
        found = pydicom.dcmread(io.BytesIO(slice_file))
        setattr(found, keyword, value)
        found.save_as(target, enforce_file_format=True)
    with contextlib.suppress(BadInput):
        assert np.isfinite(volume_of({"x": target.getvalue()}).pixels).all()
