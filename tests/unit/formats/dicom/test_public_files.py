"""pydicom's test files, from its wheel: real files of many vendors, some broken on purpose."""

import io
import time
import zipfile
from pathlib import Path

import numpy as np
import pydicom.data
import pytest
from tests.dicoms import LIMITS, uploads, volume_of, zipped

from metseg.errors import BadInput, UnreadableImage, UnsupportedFormat
from metseg.formats import read_volume
from metseg.formats.dicom import deidentify_uploads

FOLDER = Path(pydicom.data.__file__).parent / "test_files"
FILES = sorted(path for path in FOLDER.rglob("*") if path.is_file())
MOST_S = 10.0
TWINS = [
    "MR_small_RLE.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_expb.dcm",
    "MR_small_implicit.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "MR_small_padded.dcm",
]


def test_there_are_files_to_read():
    assert len(FILES) > 80


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_each_file_is_read_or_refused_with_a_sentence_in_time(path):
    began = time.monotonic()
    try:
        volume = volume_of({path.name: path.read_bytes()})
    except BadInput as error:
        said = error.detail
    else:
        said = "."
        assert pydicom.dcmread(path).Modality == "MR"
        assert volume.pixels.max() > volume.pixels.min()
    assert said.endswith(".")
    assert time.monotonic() - began < MOST_S


@pytest.mark.parametrize("name", TWINS)
def test_each_encoding_of_one_slice_is_the_same_slice(name):
    plain = volume_of({"x": (FOLDER / "MR_small.dcm").read_bytes()}, "flair")
    twin = volume_of({"x": (FOLDER / name).read_bytes()}, "flair")
    assert np.array_equal(twin.pixels, plain.pixels)
    assert np.array_equal(twin.affine, plain.affine)
    stored = pydicom.dcmread(FOLDER / "MR_small.dcm").pixel_array
    assert np.array_equal(np.sort(plain.pixels[..., 0], axis=None), np.sort(stored, axis=None))


@pytest.mark.parametrize(
    ("name", "words"),
    [("CT_small.dcm", "CT Image"), ("rtdose.dcm", "RT Dose"), ("test-SR.dcm", "SR"), ("waveform_ecg.dcm", "ECG")],
)
def test_other_modalities_are_refused_by_name(name, words):
    with pytest.raises(UnsupportedFormat, match=words):
        volume_of({"x": (FOLDER / name).read_bytes()})


def test_a_truncated_file_is_damaged():
    with pytest.raises(UnreadableImage):
        volume_of({"x": (FOLDER / "MR_truncated.dcm").read_bytes()}, "flair")


def test_a_deflated_non_image_is_refused_before_inflation():
    with pytest.raises(UnsupportedFormat, match="Secondary Capture"):
        volume_of({"x": (FOLDER / "image_dfl.dcm").read_bytes()})


def test_a_medium_with_dicomdir_scouts_and_projections_is_read():
    folder = FOLDER / "dicomdirtests"
    files = {f"{path.parent.name}/{path.name}": path for path in folder.glob("98892003/*/*")}
    [study] = {pydicom.dcmread(path).StudyInstanceUID for name, path in files.items() if name.startswith("MR700")}
    sent = {name: path.read_bytes() for name, path in files.items() if pydicom.dcmread(path).StudyInstanceUID == study}
    volume = volume_of({"study.zip": zipped({"DICOMDIR": (folder / "DICOMDIR").read_bytes(), **sent})}, "pre")
    assert volume.shape == (1, 16, 16)
    assert any("left out" in warning and "Directory" in warning for warning in volume.warnings)
    assert any("Localisers were left out" in warning and warning.endswith("2.") for warning in volume.warnings)


@pytest.mark.parametrize("path", [path for path in FILES if path.suffix == ".dcm"], ids=lambda path: path.name)
def test_each_deidentified_file_is_the_same_image(path):
    sent = {path.name: path.read_bytes()}
    try:
        plain = volume_of(sent, "flair")
    except BadInput:
        return
    found = pydicom.dcmread(path)
    with deidentify_uploads(uploads(sent, "flair"), LIMITS) as kept:
        clean = read_volume(kept, LIMITS)
        kept[0].stream.seek(0)
        packed = kept[0].stream.read()
    assert np.array_equal(clean.pixels, plain.pixels)
    content = zipfile.ZipFile(io.BytesIO(packed)).read("0001.dcm")
    for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "SOPInstanceUID"):
        word = str(found.get(keyword, "")).encode()
        assert not word or word not in content, keyword
    for keyword in ("InstitutionName", "StudyDescription", "OperatorsName", "StationName"):
        assert pydicom.dcmread(io.BytesIO(content)).get(keyword, "REMOVED") == "REMOVED"
