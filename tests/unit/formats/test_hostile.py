"""Any bytes become a Volume or a refusal that a caller can act on."""

import warnings

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.fuzz.corpus import corpus
from tests.unit.pictures import deep_png, noise, pillow, png, tiff, upload, zipped

from metseg.errors import BadInput
from metseg.formats import inspect_upload, read_volume
from metseg.imaging import Volume
from metseg.settings import Limits

LIMITS = Limits(
    slice_pixels=2**16, volume_pixels=2**20, slices=16, files=16, members=16, expanded_bytes=2**22, upload_bytes=2**20
)
FRAMES = [Image.fromarray(noise(20, 24, seed=seed)) for seed in range(3)]
CORPUS = corpus()
FROM_CORPUS = ("nifti", "nifti-packed", "nifti-2", "zip-of-nifti", "nrrd", "mha-packed", "dicom", "zip-of-dicom")
VALID = {
    "png": png(),
    "palette": pillow(FRAMES[0].convert("RGB").quantize(9), transparency=b"\x00\x80"),
    "deep png": deep_png(noise(20, 24, 3, dtype="uint16")),
    "jpeg": pillow(noise(20, 24, 3), "JPEG", exif=pillow(FRAMES[0], "TIFF")[:200]),
    "tiff": tiff(noise(2, 20, 24)),
    "deep tiff": tiff(noise(2, 20, 24, dtype="uint16"), compression="zlib"),
    "float tiff": tiff(noise(20, 24, 3, dtype="float32"), tile=(16, 16), byteorder=">"),
    "big tiff": tiff(noise(20, 24), bigtiff=True),
    "lzw tiff": pillow(FRAMES[0], "TIFF", save_all=True, append_images=FRAMES[1:], compression="tiff_lzw"),
    "fax tiff": pillow(noise(20, 24) > 99, "TIFF", compression="group4"),
    "jpeg tiff": pillow(noise(20, 24, 3), "TIFF", compression="jpeg"),
    "zip": zipped({"p/1.png": png(), "p/2.tif": tiff(noise(20, 24)), "p/1_mask.png": png()}),
    **{name: CORPUS[name] for name in FROM_CORPUS},
    "gzip": b"\x1f\x8b\x08" + bytes(400),
}
HEADS = [
    *(b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\x00", b"MM\x00*", b"II+\x00\x08\x00\x00\x00", b"PK\x03\x04"),
    *(b"\x5c\x01\x00\x00", bytes(128) + b"DICM"),
]


def judged(data):
    """Only the two outcomes; and what `inspect` accepts, `read` does not refuse for its headers."""
    try:
        seen = inspect_upload([upload(data)], LIMITS)
    except BadInput as refusal:
        with pytest.raises(type(refusal)):
            read_volume([upload(data)], LIMITS)
        return
    try:
        volume = read_volume([upload(data)], LIMITS)
    except BadInput:
        return
    assert isinstance(volume, Volume)
    assert volume.shape == seen[1:4]


@settings(deadline=None)
@given(head=st.sampled_from(HEADS), tail=st.binary(max_size=600))
def test_random_bytes_are_refused_with_a_sentence(head, tail):
    judged(head + tail)


@st.composite
def mutations(draw, data):
    """A valid file with some bytes changed, removed, repeated, or its end cut."""
    mutant = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, max(0, len(mutant) - 1)) | st.integers(0, min(200, max(0, len(mutant) - 1))))
        stop = start + draw(st.integers(0, 8))
        match draw(st.sampled_from(["change", "remove", "repeat", "cut"])):
            case "change":
                mutant[start:stop] = draw(st.binary(min_size=stop - start, max_size=stop - start))
            case "remove":
                del mutant[start:stop]
            case "repeat":
                mutant[start:start] = mutant[start : start + 40]
            case "cut":
                del mutant[-(start % 60) - 1 :]
    return bytes(mutant)


@pytest.mark.parametrize("default", ["error", "ignore"], ids=["strict", "as in production"])
@pytest.mark.parametrize("kind", VALID)
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_mutated_files_are_read_or_refused_with_a_sentence(kind, default, data):
    with warnings.catch_warnings():
        warnings.simplefilter(default)
        warnings.filterwarnings("ignore", module="pydicom")  # as in safe_read, but for the whole process
        judged(data.draw(mutations(VALID[kind])))


@pytest.mark.parametrize("kind", [kind for kind in VALID if kind != "gzip"])
def test_the_files_to_mutate_are_valid(kind):
    assert isinstance(read_volume([upload(VALID[kind])], LIMITS), Volume)


@pytest.mark.parametrize("kind", ["png", "jpeg", "deep tiff", "lzw tiff", "zip"])
def test_a_file_truncated_anywhere_is_read_or_refused_with_a_sentence(kind):
    for kept in range(1, len(VALID[kind]), 7):
        judged(VALID[kind][:kept])
