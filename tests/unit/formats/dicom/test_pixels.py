"""Pixels of DICOM files in every encoding that is read."""

import io
from pathlib import Path

import gdcm
import numpy as np
import pydicom
import pydicom.data
import pytest
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, JPEGLSLossless, RLELossless
from tests.dicoms import (
    SLICES,
    edited,
    volume_of,
)
from tests.unit.pictures import pillow

from metseg.errors import (
    UnsupportedFormat,
)
from metseg.phantom import head
from metseg.phantom.dicom import SERIES_PARAMETERS, SeriesParameters, series_files


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless, RLELossless])
def test_compressed_series_equal_their_uncompressed_originals(files, syntax):
    def compress(found, _):
        found.compress(syntax, encoding_plugin="pydicom" if syntax == RLELossless else "")

    first = dict(list(files.items())[SLICES : 2 * SLICES])
    assert np.array_equal(volume_of(edited(first, compress)).pixels, volume_of(first).pixels)


@pytest.mark.parametrize("process", ["JPEGLosslessProcess14", "JPEGLosslessProcess14_1"])
def test_lossless_jpeg_equals_its_uncompressed_original(files, process, tmp_path):
    first = dict(list(files.items())[SLICES : SLICES + 3])
    coded = {name: recoded(content, process, tmp_path) for name, content in first.items()}
    assert np.array_equal(volume_of(coded).pixels, volume_of(first).pixels)


def recoded(content, process, folder):
    """The file in another transfer syntax, by GDCM, which only works on files."""
    before, after = folder / "before.dcm", folder / "after.dcm"
    before.write_bytes(content)
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(before))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, process)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(after))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return after.read_bytes()


def test_baseline_jpeg_is_read_as_pillow_reads_it(files):
    found = pydicom.dcmread(io.BytesIO(next(iter(files.values()))))
    picture = pillow((found.pixel_array // 128).astype(np.uint8), "JPEG", quality=90)
    found.BitsAllocated, found.BitsStored, found.HighBit = 8, 8, 7
    found.file_meta.TransferSyntaxUID, found.PixelData = JPEGBaseline8Bit, encapsulate([picture])
    found["PixelData"].VR = "OB"
    target = io.BytesIO()
    found.save_as(target, enforce_file_format=True)
    volume = volume_of({"x": target.getvalue()})
    assert np.array_equal(volume.pixels[0, ..., 1], np.asarray(Image.open(io.BytesIO(picture))))


@pytest.mark.parametrize("name", ["JPEG-lossy.dcm", "JPGExtended.dcm"])
def test_12_bit_jpeg_is_refused_with_a_sentence(name):
    found = pydicom.dcmread(Path(pydicom.data.__file__).parent / "test_files" / name)
    found.SOPClassUID = found.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    target = io.BytesIO()
    found.save_as(target, enforce_file_format=True)
    with pytest.raises(UnsupportedFormat, match="12 bits"):
        volume_of({"x": target.getvalue()})


@pytest.mark.parametrize("lowest", [0, -3])
def test_16_bits_with_a_sign_stay_16_bits_unless_a_value_is_negative(lowest):
    phantom = head(5, slices=4, size_px=64)
    pixels = phantom.volume.pixels[..., 1].astype(np.int16) * 50
    pixels[2, 3, 4] = lowest
    read = volume_of(series_files(pixels, phantom.volume.affine, SERIES_PARAMETERS["flair"])).pixels
    assert read.dtype == (np.float32 if lowest < 0 else np.uint16)
    assert np.array_equal(read[..., 1], pixels)


@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
@pytest.mark.parametrize("padding", [{"value": -32768}, {"value": 65535}, {"value": 60000, "limit": 60010}])
def test_declared_padding_is_background(dtype, padding):
    phantom = head(5, slices=4, size_px=64)
    pixels = phantom.volume.pixels[..., 1].astype(dtype) + 7
    value = padding["value"]
    with np.errstate(over="ignore"):
        padded = pixels.copy()
        padded[:, :10] = np.array(value).astype(dtype)
        extra = {"PixelPaddingValue": value if value >= 0 or dtype == np.int16 else value + 65536}
        if "limit" in padding:
            padded[:, 5:10] = np.array(padding["limit"]).astype(dtype)
            extra["PixelPaddingRangeLimit"] = padding["limit"]
    if dtype == np.int16 and value > 32767:
        extra = {key: value - 65536 for key, value in extra.items()}
    parameters = SeriesParameters(**{**vars(SERIES_PARAMETERS["flair"]), "extra": extra})
    read = volume_of(series_files(padded, phantom.volume.affine, parameters)).pixels[..., 1]
    assert np.array_equal(read[:, 10:], pixels[:, 10:])
    assert (read[:, :10] == pixels[:, 10:].min()).all()
