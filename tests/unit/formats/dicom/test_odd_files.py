"""DICOM files that break the standard, or use its rarer forms, and are still readable."""

import io
import threading

import numpy as np
import pydicom
import pytest
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from tests.dicoms import LIMITS, answered, edited, uploads, volume_of, warned

from metseg.errors import UnreadableImage
from metseg.formats.dicom import deidentify_uploads, instances, pixels, safe_read
from metseg.phantom.dicom import SERIES_PARAMETERS, enhanced_file, series_files


@pytest.fixture(scope="module")
def flair(phantom):
    stored = phantom.volume.pixels[..., 1].astype(np.uint16)
    return series_files(stored, phantom.volume.affine, SERIES_PARAMETERS["flair"])


def with_text(files, keyword, text, vr):
    """The files with a text in an element, with any VR."""

    def edit(dataset, _):
        tag = pydicom.datadict.tag_for_keyword(keyword)
        dataset[tag] = DataElement(tag, "LO", text)
        dataset[tag].value = text

    raw = pydicom.datadict.tag_for_keyword(keyword)
    start = (raw >> 16).to_bytes(2, "little") + (raw & 0xFFFF).to_bytes(2, "little")
    return {name: content.replace(start + b"LO", start + vr.encode()) for name, content in edited(files, edit).items()}


def bare(content, syntax, start):
    """A file from its meta information on, or from its data set on."""
    found = pydicom.dcmread(io.BytesIO(content))
    found.file_meta.TransferSyntaxUID = syntax
    target = io.BytesIO()
    found.save_as(target, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True)
    whole = target.getvalue()
    if start == "meta":
        return whole[132:]
    return whole[144 + int.from_bytes(whole[140:144], "little") :]


def test_a_large_object_without_an_image_is_left_out_by_name(flair):
    found = pydicom.dcmread(io.BytesIO(next(iter(flair.values()))))
    found.SOPClassUID = found.file_meta.MediaStorageSOPClassUID = pydicom.uid.SegmentationStorage
    found.NumberOfFrames = 7625
    item = Dataset()
    item.PlanePositionSequence = Sequence([Dataset() for _ in range(8)])
    found.PerFrameFunctionalGroupsSequence = Sequence([item] * 7625)
    target = io.BytesIO()
    found.save_as(target)
    volume = volume_of({**flair, "seg.dcm": target.getvalue()})
    assert warned(volume, "left out: Segmentation (1)")
    assert np.array_equal(volume.pixels, volume_of(flair).pixels)


@pytest.mark.parametrize("shared", ["empty", "absent"])
def test_an_enhanced_file_may_describe_everything_per_frame(phantom, shared):
    stored = phantom.volume.pixels[..., 1].astype(np.uint16)
    content = enhanced_file(stored, phantom.volume.affine, SERIES_PARAMETERS["flair"])

    def edit(dataset, _):
        for groups in dataset.PerFrameFunctionalGroupsSequence:
            groups.update(dataset.SharedFunctionalGroupsSequence[0])
        del dataset.SharedFunctionalGroupsSequence
        if shared == "empty":
            dataset.SharedFunctionalGroupsSequence = Sequence([])

    volume = volume_of(edited({"x": content}, edit))
    assert np.array_equal(volume.pixels[..., 1], stored)
    assert np.array_equal(volume.affine, volume_of({"x": content}).affine)
    made, _, warnings = answered(volume, phantom.mask)
    assert len(made) == 2 and warnings == ()


@pytest.mark.parametrize(("text", "vr"), [("{0}\\{1}", "UT"), ("{0}\\{1}", "LO"), ("{0},5\\{1},5", "DS")])
def test_a_pixel_spacing_is_read_whatever_its_type_and_its_decimal_mark(flair, text, vr):
    written = text.format(1, 1)
    if vr == "UT":
        expected = (1.0, 1.0)
        files = edited(flair, lambda dataset, _: dataset.add_new(0x00280030, "UT", written))
    else:
        expected = (1.0, 1.0) if vr == "LO" else (1.5, 1.5)
        files = with_text(flair, "PixelSpacing", written, vr)
    assert volume_of(files).spacing_mm[1:] == expected


def test_text_in_an_optional_numeric_element_counts_as_missing(flair):
    volume = volume_of(with_text(with_text(flair, "EchoTime", "unknown", "DS"), "InstanceNumber", "first", "IS"))
    assert np.array_equal(volume.pixels, volume_of(flair).pixels)


def test_text_in_a_required_numeric_element_is_refused_by_name(flair):
    files = list(flair.items())
    bad = with_text(dict(files[2:3]), "PixelSpacing", "unknown", "DS")
    with pytest.raises(UnreadableImage, match=r"File 3 of 8: PixelSpacing"):
        volume_of({**flair, **bad})


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
@pytest.mark.parametrize("start", ["meta", "data set"])
@pytest.mark.parametrize("share", [1, 2])
def test_a_series_is_complete_without_preambles(flair, syntax, start, share):
    files = {
        name: content if index % share else bare(content, syntax, start)
        for index, (name, content) in enumerate(flair.items())
    }
    volume, whole = volume_of(files), volume_of(flair)
    assert np.array_equal(volume.pixels, whole.pixels)
    assert volume.spacing_mm == whole.spacing_mm
    assert not warned(volume, "not DICOM")
    with deidentify_uploads(uploads(files), LIMITS) as kept:
        assert len(kept) == 1


def test_a_deflated_series_is_read(flair):
    def deflate(dataset, _):
        dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian

    files = edited(flair, deflate)
    assert np.array_equal(volume_of(files).pixels, volume_of(flair).pixels)
    with deidentify_uploads(uploads(files), LIMITS) as kept:
        assert len(kept) == 1


@pytest.mark.parametrize("error", [AttributeError, TypeError, KeyError, RuntimeError])
def test_an_internal_error_is_not_reported_as_damage(flair, monkeypatch, error):
    def fail(*_):
        raise error("ours")

    with monkeypatch.context() as patch:
        patch.setattr(instances, "_layout", fail)
        with pytest.raises(error):
            volume_of(flair)
    monkeypatch.setattr(pixels, "_rescale", fail)
    with pytest.raises(error):
        volume_of(flair)


def test_too_little_memory_is_not_reported_as_damage(flair, monkeypatch):
    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr(pixels, "pixel_array", fail)
    with pytest.raises(MemoryError):
        volume_of(flair)


def test_a_slow_file_does_not_delay_others():
    inside, done = threading.Event(), threading.Event()

    def wait():
        with safe_read.translate_errors():
            inside.set()
            done.wait(10)

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert inside.wait(10)
    entered = threading.Event()

    def enter():
        with safe_read.translate_errors():
            entered.set()

    threading.Thread(target=enter).start()
    try:
        assert entered.wait(5)
    finally:
        done.set()
        waiting.join()
