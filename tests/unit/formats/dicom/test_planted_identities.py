"""Names planted in every element of the dictionary, under every type and at several depths, survive nowhere."""

import io
import re
import string
import struct
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.datadict import DicomDictionary, dictionary_VR, keyword_dict
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.tag import Tag
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, JPEGLSLossless
from tests.dicoms import LIMITS, uploads, volume_of
from tests.unit.pictures import noise, pillow

from metseg.errors import BadInput, UnreadableImage, UnsupportedFormat
from metseg.formats.dicom import clean_header, deidentify_uploads
from metseg.formats.dicom.deidentify import Pseudonyms, deidentify
from metseg.formats.dicom.header_values import NEEDED
from metseg.phantom import head
from metseg.phantom.dicom import study_files

NAME = b"DOE^JANE"  # eight bytes, so that it is also a number of every size
SHORT = frozenset(
    [
        "AE",
        "AS",
        "AT",
        "CS",
        "DA",
        "DS",
        "DT",
        "FL",
        "FD",
        "IS",
        "LO",
        "LT",
        "PN",
        "SH",
        "SL",
        "SS",
        "ST",
        "TM",
        "UI",
        "UL",
        "US",
    ]
)
VRS = sorted(SHORT | frozenset(["OB", "OD", "OF", "OL", "OV", "OW", "SV", "UC", "UN", "UR", "UT", "UV"]))
IMAGE = next(iter(study_files(head(3, slices=4, size_px=64, lesions=1)).values()))
ENCODING = ("NumberOfFrames", "SpecificCharacterSet")  # without which pydicom reads nothing
NEEDED_TAGS = frozenset(Tag(keyword_dict[each]) for each in (*NEEDED, *clean_header.REQUIRED, *ENCODING))
KINDS = frozenset(map(Tag, ("SOPClassUID", "SOPInstanceUID")))
PLANTED_TAGS = [
    tag for tag in map(Tag, DicomDictionary) if tag not in NEEDED_TAGS and 2 < tag.group < 0x7FE0 and tag.element
]


def element(tag, vr, value):
    """One element in explicit little endian, whether or not that is its type."""
    value += b"" if len(value) % 2 == 0 else b" "
    length = struct.pack("<H", len(value)) if vr in SHORT else struct.pack("<HI", 0, len(value))
    return struct.pack("<HH", tag.group, tag.element) + vr.encode() + length + value


def nested(content, depth):
    """Elements within as many sequences that the profile keeps."""
    for _ in range(depth):
        item = b"\xfe\xff\x00\xe0" + struct.pack("<I", len(content)) + content
        content = element(Tag(0x0008, 0x1140), "SQ", item)
    return content


def with_elements(planted, depth=0):
    """The phantom's image with elements, by tag, in place of its own."""
    dataset = pydicom.dcmread(io.BytesIO(IMAGE))
    own = {}
    for each in dataset:
        target = io.BytesIO()
        one = Dataset()
        one[each.tag] = each
        one.save_as(target, implicit_vr=False, little_endian=True)
        own[each.tag] = target.getvalue()
    start = IMAGE.index(own[min(own)][:8], 132)
    if depth:
        own[Tag(0x0008, 0x1140)] = nested(b"".join(planted[tag] for tag in sorted(planted)), depth)
    else:
        own |= planted
    return IMAGE[:start] + b"".join(own[tag] for tag in sorted(own))


def cleaned(content):
    target = io.BytesIO()
    deidentify(io.BytesIO(content), target, Pseudonyms())
    return target.getvalue()


@pytest.mark.parametrize("depth", [0, 3])
@pytest.mark.parametrize("vr", ["dictionary", *VRS])
def test_a_name_survives_in_no_element_under_any_type(vr, depth):
    planted = {
        tag: element(tag, dictionary_VR(tag).split(" ")[0] if vr == "dictionary" else vr, NAME)
        for tag in PLANTED_TAGS
        if vr != "dictionary" or dictionary_VR(tag) not in ("SQ", "NONE")
    }
    content = with_elements(planted, depth)
    assert content.count(NAME) > 3000
    made = cleaned(content)
    assert NAME not in made
    assert pydicom.dcmread(io.BytesIO(made)).PixelData == pydicom.dcmread(io.BytesIO(IMAGE)).PixelData


@settings(deadline=None, max_examples=60)
@given(
    text=st.text(string.ascii_letters + " ^=-.'", min_size=5, max_size=40).filter(lambda it: len(it.strip()) > 4),
    tag=st.sampled_from(PLANTED_TAGS),
    vr=st.sampled_from(VRS),
    depth=st.integers(0, 6),
)
def test_no_text_survives_in_any_element(text, tag, vr, depth):
    value = text.encode()
    try:
        made = cleaned(with_elements({tag: element(tag, vr, value)}, depth))
    except BadInput:
        return
    assert value.strip() not in made


@pytest.mark.parametrize("vr", ["DA", "DT", "TM", "AS"])
def test_dates_times_and_ages_outside_the_profile_are_removed(vr):
    value = {"DA": b"20260203", "DT": b"20260203123456", "TM": b"123456.789", "AS": b"042Y"}[vr]
    planted = {tag: element(tag, vr, value) for tag in PLANTED_TAGS if dictionary_VR(tag) == vr}
    assert planted
    assert value not in cleaned(with_elements(planted)) and value not in cleaned(with_elements(planted, 2))


@pytest.mark.parametrize("vr", ["UI", "LO", "UT", "UN", "OB"])
def test_uids_are_mapped_wherever_the_dictionary_has_them(vr):
    old = b"1.2.3.4711.8"
    planted = {tag: element(tag, vr, old) for tag in PLANTED_TAGS if dictionary_VR(tag) == "UI" and tag not in KINDS}
    made = cleaned(with_elements(planted))
    assert old not in made
    found = pydicom.dcmread(io.BytesIO(made))
    assert found.SeriesInstanceUID == found.StudyInstanceUID == found.FrameOfReferenceUID


def test_an_element_that_the_image_needs_is_refused_under_a_false_type():
    rows = Tag("Rows")
    with pytest.raises(UnreadableImage, match="Rows"):
        cleaned(with_elements({rows: element(rows, "LO", NAME)}))


@pytest.mark.parametrize("vr", VRS)
def test_a_name_as_the_character_set_is_removed_or_refused(vr):
    tag = Tag("SpecificCharacterSet")
    try:
        made = cleaned(with_elements({tag: element(tag, vr, NAME)}))
    except BadInput:
        return
    assert NAME not in made


def test_a_transfer_syntax_that_is_none_is_refused():
    dataset = pydicom.dcmread(io.BytesIO(IMAGE))
    syntax = str(dataset.file_meta.TransferSyntaxUID).encode()
    with pytest.raises((UnsupportedFormat, UnreadableImage)):
        cleaned(IMAGE.replace(syntax, NAME.ljust(len(syntax), b"X"), 1))


def test_overlays_in_unused_bits_and_bytes_behind_the_pixels_are_removed():
    found = pydicom.dcmread(io.BytesIO(IMAGE))
    plain = found.pixel_array.copy() & 0x0FFF
    drawn = plain | (np.arange(plain.size, dtype=np.uint16).reshape(plain.shape) % 16 << 12).astype(np.uint16)
    found.BitsStored, found.HighBit = 12, 11
    found.add_new(0x60000010, "US", 64)
    found.add_new(0x60000102, "US", 12)
    found.PixelData = drawn.tobytes() + NAME * 3
    target = io.BytesIO()
    found.save_as(target, enforce_file_format=True)
    made = pydicom.dcmread(io.BytesIO(cleaned(target.getvalue())))
    assert made.PixelData == plain.tobytes()
    assert not [each for each in made if each.tag.group == 0x6000]


def test_the_sign_of_values_with_unused_bits_is_kept():
    found = pydicom.dcmread(io.BytesIO(IMAGE))
    found.PixelRepresentation, found.BitsStored, found.HighBit = 1, 12, 11
    values = np.resize(np.arange(-2048, 2048, dtype=np.int16), (64, 64))
    found.PixelData = (values & 0x0FFF).astype(np.uint16).tobytes()
    target = io.BytesIO()
    found.save_as(target, enforce_file_format=True)
    made = pydicom.dcmread(io.BytesIO(cleaned(target.getvalue())))
    assert np.array_equal(np.frombuffer(made.PixelData, np.int16).reshape(64, 64), values)


def compressed(syntax):
    """The image compressed, with a comment in its code stream and bytes behind that."""
    found = pydicom.dcmread(io.BytesIO(IMAGE))
    if syntax == JPEGBaseline8Bit:
        stream = pillow(noise(64, 64), "JPEG")
        found.BitsAllocated = found.BitsStored = 8
        found.HighBit, found.file_meta.TransferSyntaxUID = 7, syntax
    else:
        found.compress(syntax, generate_instance_uid=False)
        stream = next(generate_frames(found.PixelData, number_of_frames=1))
    comment = NAME + b"\0" * 4
    length = struct.pack(">H", len(comment) + 2)
    if syntax == JPEG2000Lossless:
        start = 4 + int.from_bytes(stream[4:6])  # behind SIZ
        stream = stream[:start] + b"\xff\x64" + length + b"\0\1" + comment[2:] + stream[start:]
        stream = stream.replace(b"\0\1" + comment[2:], b"\0\1" + NAME + b"\0\0")
    else:
        stream = b"\xff\xd8\xff\xfe" + length + comment + b"\xff\xe1" + length + comment + stream[2:]
    found.PixelData = encapsulate([stream + NAME])
    found["PixelData"].is_undefined_length = True
    target = io.BytesIO()
    found.save_as(target, enforce_file_format=True)
    return target.getvalue()


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEGLSLossless, JPEG2000Lossless], ids=lambda each: each.name)
def test_comments_in_code_streams_are_removed(syntax):
    content = compressed(syntax)
    assert NAME in content
    made = cleaned(content)
    assert NAME not in made
    with deidentify_uploads(uploads({"x": content}, "flair"), LIMITS) as kept:
        assert kept
    assert np.array_equal(volume_of({"x": made}, "flair").pixels, volume_of({"x": content}, "flair").pixels)


def test_the_documentation_lists_what_is_kept():
    page = (Path(__file__).parents[4] / "docs/dicom.md").read_text()
    listed = set(re.findall(r"`([A-Z]\w+)`", page.partition("<!-- kept -->")[2].partition("<!-- /kept -->")[0]))
    assert listed == {*clean_header.KEPT_NUMBERS, *clean_header.KEPT_CODES}
