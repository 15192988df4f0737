"""NIfTI in: sequences by field or name, any order, type and scale; what cannot be read says why."""

import gzip
import tracemalloc
import warnings

import nibabel
import numpy as np
import pytest
from tests.unit.pictures import LIMITS, png, upload, zipped
from tests.unit.volumes import TITLED, nifti, ours, refused, skull, study, volume_of

from metseg.errors import (
    ArchiveBomb,
    BadArchive,
    ImageTooLarge,
    InvalidParameter,
    MixedSizes,
    SeveralPatients,
    UnreadableImage,
    UnsupportedFormat,
    UnusableImage,
)
from metseg.formats import inspect_upload, read_volume
from metseg.imaging import MISSING_SEQUENCE

PIXELS = skull()
GREY = PIXELS[..., 1]


def test_one_file_is_a_grey_study_in_patient_space():
    volume = volume_of(upload(nifti(GREY), "scan.nii.gz"))
    assert np.array_equal(volume.pixels, np.repeat(ours(GREY)[..., None], 3, axis=-1))
    assert volume.spacing_mm == pytest.approx(np.linalg.norm(TITLED[:3, :3], axis=0)[::-1])
    assert np.allclose(volume.affine, TITLED, atol=1e-5)
    assert volume.source == "nifti"
    assert volume.names[0] == "scan_001"
    assert any("grey" in warning for warning in volume.warnings)


def test_the_gateway_knows_the_size_from_headers_alone():
    assert inspect_upload([upload(nifti(GREY), "scan.nii.gz")], LIMITS)[:4] == ("nifti", 6, 64, 64)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("pack", [True, False])
@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "uint16", "int16", "int32", "uint32", "int64", "float32", "float64"]
)
def test_every_scalar_voxel_type_is_read(version, order, pack, dtype):
    voxels = np.rint(GREY / GREY.max() * 100).astype(dtype)
    volume = volume_of(upload(nifti(voxels, version=version, order=order, pack=pack)))
    assert np.array_equal(volume.pixels[..., 1], ours(voxels))


@pytest.mark.parametrize("lowest", [0, -3])
@pytest.mark.parametrize("other", ["uint16", "int16"])
def test_16_bits_with_a_sign_stay_16_bits_unless_a_value_is_negative(lowest, other):
    """Nearly all files of MRI are such, and floats would be twice as large and slower to prepare."""
    flair, post = (np.rint(GREY / GREY.max() * 100 * scale).astype("int16") for scale in (1, 300))
    post[3, 4, 5] = lowest
    volume = volume_of(*study(flair=nifti(flair.astype(other)), t1c=nifti(post)))
    assert volume.pixels.dtype == (np.float32 if lowest < 0 else np.uint16)
    assert np.array_equal(volume.pixels[..., 1], ours(flair))
    assert np.array_equal(volume.pixels[..., 2], ours(post))


def test_stored_values_are_scaled():
    voxels = np.rint(GREY / GREY.max() * 100).astype("int16")
    volume = volume_of(upload(nifti(voxels, slope=(0.5, -20))))
    assert np.allclose(volume.pixels[..., 0], ours(voxels) * 0.5 - 20)


@pytest.mark.parametrize("names", [("t1", "flair", "t1c"), ("p_t1n", "p_t2f", "p_t1ce"), ("a-t1w", "b_fla", "c_t1_gd")])
def test_sequences_are_recognised_by_name(names):
    files = {name: nifti(PIXELS[..., channel]) for channel, name in enumerate(names)}
    volume = volume_of(*study(**files))
    assert np.array_equal(volume.pixels, PIXELS.transpose(2, 1, 0, 3))
    assert volume.warnings == ()
    assert set(volume.sequences) == {"pre", "flair", "post"}
    assert volume.alignment == ()


@pytest.mark.parametrize("names", [("flair",), ("t1", "flair", "t1c")])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16"])
def test_reading_takes_less_than_three_times_the_memory_of_the_voxels(names, dtype):
    """A float copy is twice the size of 16 bits, and four times that of 8, so bytes are read as they are."""
    voxels = np.random.default_rng(1).integers(0, 200, (96, 96, 80)).astype(dtype)
    sent = study(**{name: nifti(voxels, pack=False) for name in names})
    volume_of(*study(**{name: nifti(voxels, pack=False) for name in names}))  # imports and caches
    tracemalloc.start()
    volume = volume_of(*sent)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * len(names) * voxels.nbytes
    assert all(np.array_equal(volume.pixels[..., channel], ours(voxels)) for channel in range(3))


def test_a_missing_sequence_among_several_is_a_copy_of_the_reference():
    volume = volume_of(*study(flair=nifti(PIXELS[..., 1]), t1c=nifti(PIXELS[..., 2])))
    assert np.array_equal(volume.pixels[..., 0], ours(PIXELS[..., 1]))
    assert np.array_equal(volume.pixels[..., 2], ours(PIXELS[..., 2]))


def test_a_field_overrides_the_name_of_a_sequence():
    sent = [upload(nifti(PIXELS[..., i]), "scan.nii", role) for i, role in enumerate(("pre", "flair", "post"))]
    assert np.array_equal(volume_of(*sent).pixels, PIXELS.transpose(2, 1, 0, 3))


def test_a_zip_of_volumes_is_a_study_without_its_other_files():
    files = {f"p/{name}.nii.gz": nifti(PIXELS[..., i]) for i, name in enumerate(("t1", "flair", "t1c"))}
    files |= {"p/t2.nii.gz": nifti(GREY), "p/flair_seg.nii.gz": nifti(GREY), "p/notes.json": b"{}"}
    volume = volume_of(upload(zipped(files), "study.zip"))
    assert np.array_equal(volume.pixels, PIXELS.transpose(2, 1, 0, 3))
    assert "segmentation" in volume.warnings[1]
    assert "T2" in volume.warnings[1]
    assert volume.warnings[0].endswith("left out: 1.")


def test_a_missing_sequence_is_replaced():
    volume = volume_of(*study(flair=nifti(GREY), t1c=nifti(PIXELS[..., 2])))
    assert np.array_equal(volume.pixels[..., 0], volume.pixels[..., 1])
    assert any("known to be pre-contrast" in warning for warning in volume.warnings)
    assert volume.sequences["pre"] == MISSING_SEQUENCE


def test_a_volume_that_is_left_out_is_named():
    volume = volume_of(*study(flair=nifti(GREY), scan_7=nifti(GREY), t2w=nifti(GREY)))
    [warning] = [each for each in volume.warnings if "left out" in each]
    assert "scan_7.nii.gz (no sequence in its name)" in warning and "t2w.nii.gz (T2" in warning


def test_a_file_of_three_volumes_is_a_complete_study():
    volume = volume_of(upload(nifti(PIXELS)))
    assert np.array_equal(volume.pixels, PIXELS.transpose(2, 1, 0, 3))
    assert any("in this order" in warning for warning in volume.warnings)


@pytest.mark.parametrize("count", [2, 4])
def test_a_file_of_another_number_of_volumes_is_refused(count):
    assert f"holds {count} volumes" in refused(UnsupportedFormat, upload(nifti(np.stack([GREY] * count, axis=-1))))


def test_a_file_of_three_volumes_among_others_is_refused():
    refused(UnsupportedFormat, *study(flair=nifti(PIXELS), t1=nifti(GREY)))


def test_trailing_singleton_dimensions_are_ignored():
    assert volume_of(upload(nifti(GREY[..., None, None]))).shape == (6, 64, 64)
    assert volume_of(upload(nifti(GREY[..., 3]))).shape == (1, 64, 64)


def test_more_than_four_dimensions_are_refused():
    refused(UnsupportedFormat, upload(nifti(np.stack([PIXELS] * 2, axis=-1))))


def test_two_volumes_of_one_name_are_refused():
    assert "FLAIR" in refused(InvalidParameter, *study(a_flair=nifti(GREY), b_flair=nifti(GREY)))


def test_names_without_a_sequence_are_refused():
    assert "pre, flair and post" in refused(InvalidParameter, *study(a=nifti(GREY), b=nifti(GREY)))


@pytest.mark.parametrize("name", ["t2w", "seg", "sub-01_adc", "dwi", "T2", "label"])
def test_a_single_volume_named_as_another_kind_is_refused_unless_a_field_names_it(name):
    assert "does not use" in refused(UnusableImage, upload(nifti(GREY), f"{name}.nii"))
    assert volume_of(upload(nifti(GREY), f"{name}.nii", "flair")).shape == (6, 64, 64)


def test_two_volumes_in_one_field_are_refused():
    refused(InvalidParameter, *[upload(nifti(GREY), f"{name}.nii", "flair") for name in "ab"])


def test_volumes_and_slices_do_not_mix_silently():
    volume = volume_of(upload(nifti(GREY), "flair.nii"), upload(png(), "1.png"))
    assert "left out: 1" in volume.warnings[0]


def test_a_zip_within_a_zip_is_not_opened():
    refused(BadArchive, upload(zipped({"flair.nii": nifti(GREY), "more.zip": zipped({"t1.nii": nifti(GREY)})})))


def test_nan_becomes_air_with_a_warning():
    voxels = GREY.copy()
    voxels[:8] = np.nan
    volume = volume_of(upload(nifti(voxels)))
    assert (volume.pixels[..., 0, :] == np.nanmin(voxels))[:, :, :1].all()
    assert any("NaN" in warning for warning in volume.warnings)


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinity_is_refused(value):
    voxels = GREY.copy()
    voxels[3, 4, 2] = value
    with pytest.raises(UnusableImage, match="finite"):
        volume_of(upload(nifti(voxels)))


def test_a_volume_of_nan_is_refused():
    with warnings.catch_warnings(), pytest.raises(UnusableImage):
        volume_of(upload(nifti(np.full((20, 20, 3), np.nan, np.float32))))


@pytest.mark.parametrize("dtype", [np.complex64, nibabel.nifti1.data_type_codes.dtype["RGB"]])
def test_voxels_of_complex_or_colour_types_are_refused(dtype):
    assert "plain numbers" in refused(UnsupportedFormat, upload(nifti(np.zeros((20, 20, 4), dtype))))


def test_a_missing_orientation_is_assumed_with_a_warning():
    volume = volume_of(upload(nifti(GREY, None)))
    assert volume.affine is None
    assert volume.spacing_mm == (1, 1, 1)
    assert np.array_equal(volume.pixels[..., 0], ours(GREY)[:, ::-1])  # NIfTI's second axis points to the front
    assert any("orientation" in warning for warning in volume.warnings)


def test_volumes_of_equal_size_need_no_affine():
    volume = volume_of(*study(flair=nifti(GREY, None), t1=nifti(PIXELS[..., 0])))
    assert np.array_equal(volume.pixels[..., 1], ours(GREY))
    assert np.array_equal(volume.pixels[..., 0], ours(PIXELS[..., 0]))


def test_volumes_of_different_sizes_need_an_affine():
    refused(MixedSizes, *study(flair=nifti(GREY), t1=nifti(GREY[:-1], None)))


@pytest.mark.parametrize(("units", "factor"), [("meter", 1e-3), ("micron", 1e3), ("mm", 1), ("unknown", 1)])
def test_units_are_converted(units, factor):
    affine = np.diag([factor, factor, factor, 1])
    assert volume_of(upload(nifti(GREY, affine, units=units))).spacing_mm == pytest.approx((1, 1, 1), rel=1e-4)


@pytest.mark.parametrize("size", [1e-3, 80.0, 1e3])
def test_impossible_head_sizes_are_refused(size):
    assert "spacing" in refused(UnusableImage, upload(nifti(GREY, np.diag([size, size, size, 1]), qform=0)))


@pytest.mark.parametrize(("degrees", "words"), [(0.5, ""), (3, "3.0 degrees off a right angle"), (12, None)])
def test_sheared_rows_and_columns_are_reported_or_refused(degrees, words):
    affine = TITLED.copy()
    affine[:3, 1] += np.tan(np.radians(degrees)) * 0.85 / 0.9 * TITLED[:3, 0]
    sent = upload(nifti(GREY, affine, qform=0))
    if words is None:
        assert "12 degrees off a right angle" in refused(UnusableImage, sent)
        return
    reports = [warning for warning in volume_of(sent).warnings if "right angle" in warning]
    assert len(reports) == bool(words)
    assert words in " ".join(reports)


@pytest.mark.parametrize("size", [1e-6, 1e6])
def test_impossible_spacings_count_as_missing(size):
    data = bytearray(nifti(GREY, np.diag([size, size, size, 1]), qform=0, pack=False))
    data[80:92] = np.full(3, size, "<f4").tobytes()
    volume = volume_of(upload(bytes(data)))
    assert (volume.spacing_mm, volume.affine) == (None, None)


@pytest.mark.parametrize("value", [1e300, -1e300, 1e6])
@pytest.mark.parametrize("place", [(0, 0), (1, 2), (2, 3)])
def test_an_impossible_affine_counts_as_missing(value, place):
    affine = TITLED.copy()
    affine[place] = value
    assert volume_of(upload(nifti(GREY, affine, qform=0, version=2))).affine is None


def test_an_invalid_sform_is_replaced_by_the_qform():
    data = bytearray(nifti(GREY, pack=False))
    data[280:328] = bytes(48)
    assert np.allclose(volume_of(upload(bytes(data))).affine[:3, 3], TITLED[:3, 3], atol=1e-3)


def test_a_small_well_compressed_label_map_is_no_bomb():
    voxels = np.zeros((256, 256, 155), np.uint8)
    voxels[100:110, 100:110, 80] = 1
    sent = nifti(voxels)
    assert voxels.nbytes > 200 * len(sent)
    volume = volume_of(upload(sent, "scan.nii.gz"))
    assert volume.pixels[..., 0].sum() == voxels.sum()


@pytest.mark.parametrize("shape", [(8192, 8192, 1), (900, 900, 900), (4000, 4000, 40, 3), (1024, 1024, 150, 3)])
def test_a_bomb_is_refused_by_its_header_before_allocation(shape):
    header = nifti(np.zeros((1, 1, 1), np.float64), pack=False)[:352]
    data = bytearray(header + bytes(2**20))
    data[40:56] = np.array([len(shape), *shape, 1, 1, 1, 1][:8], "<i2").tobytes()
    tracemalloc.start()
    with pytest.raises((ArchiveBomb, ImageTooLarge)):
        volume_of(upload(gzip.compress(bytes(data)), "scan.nii.gz"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 * 2**20


@pytest.mark.parametrize("kept", [200, 347, 352, 5000])
@pytest.mark.parametrize("pack", [True, False])
def test_a_truncated_file_is_unreadable(kept, pack):
    data = nifti(np.random.default_rng(0).random((20, 20, 20)).astype("float32"), pack=False)[:kept]
    sent = upload(gzip.compress(data) if pack else data)
    with pytest.raises((UnreadableImage, UnsupportedFormat)):
        read_volume([sent], LIMITS)


def test_a_damaged_checksum_is_detected():
    data = bytearray(nifti(GREY))
    data[-6] ^= 1
    with pytest.raises(UnreadableImage):
        volume_of(upload(bytes(data)))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("patient_001_flair", "patient_002_t1c"),
        ("sub-01_FLAIR", "sub-02_ce-gadolinium_T1w"),
        ("BraTS-MET-00001-000-t2f", "BraTS-MET-00002-000-t1c"),
        ("BraTS20_Training_001_flair", "BraTS20_Training_002_t1ce"),
        ("TCGA-CS-4941_flair", "TCGA-CS-4942_t1gd"),
    ],
)
@pytest.mark.parametrize("by_field", [False, True])
def test_volumes_that_are_named_after_two_patients_are_refused(one, other, by_field):
    roles = ("flair", "post") if by_field else (None, None)
    sent = [upload(nifti(GREY), f"{name}.nii.gz", role) for name, role in zip((one, other), roles, strict=True)]
    refused(SeveralPatients, *sent)
    again = [upload(nifti(GREY), f"{name}.nii.gz") for name in (one, one.replace("flair", "t1").replace("t2f", "t1n"))]
    assert volume_of(*again[: 1 if "FLAIR" in one else 2]).present[1]


@pytest.mark.parametrize(
    ("one", "other", "is_one"),
    [("A", "B", False), ("1/nifti", "2/nifti", False), ("flair", "t1", True), ("x/3-FLAIR/out", "x/5-T1c/out", True)],
)
def test_volumes_in_several_folders_are_of_one_patient_if_the_folders_are_named_as_sequences(one, other, is_one):
    files = {f"{one}/flair.nii.gz": nifti(GREY), f"{other}/t1c.nii.gz": nifti(GREY)}
    if is_one:
        assert volume_of(upload(zipped(files), "study.zip")).present == (False, True, True)
    else:
        refused(SeveralPatients, upload(zipped(files), "study.zip"))


def changed(**fields):
    """A NIfTI file with changed fields of its header."""
    data = bytearray(nifti(PIXELS[..., :3], pack=False))
    header = nibabel.Nifti1Header(bytes(data[:348]), check=False)
    for name, value in fields.items():
        header[name] = value
    data[:348] = header.binaryblock
    return upload(bytes(data), "flair.nii")


def test_vectors_are_not_read_as_three_sequences():
    with pytest.raises(UnsupportedFormat, match="several values"):
        volume_of(changed(dim=[5, 64, 64, 6, 1, 3, 1, 1]))


def test_two_sizes_of_voxels_in_one_header_are_warned_of():
    same, other = (
        volume_of(changed(dim=[4, 64, 64, 6, 1, 1, 1, 1], pixdim=[1, *sizes, 1, 1, 1, 1]))
        for sizes in ((0.9, 0.85, 5.0), (1.0, 1.0, 1.0))
    )
    assert other.spacing_mm == same.spacing_mm
    assert any("two sizes of its voxels" in warning for warning in other.warnings)
    assert not any("two sizes of its voxels" in warning for warning in same.warnings)


def test_the_submitter_says_which_sequence_a_volume_is_whatever_its_name():
    for name in ("scan.nii.gz", "t1.nii.gz", "t2.nii.gz"):
        volume = read_volume([upload(nifti(GREY), name)], LIMITS, sequence="post")
        assert volume.present == (False, False, True)
        assert {role: one.by for role, one in volume.identified.items()} == {"post": "stated"}
    by_name = volume_of(upload(nifti(GREY), "t1c.nii.gz"))
    assert {role: one.by for role, one in by_name.identified.items()} == {"post": "name"}
    assert volume_of(upload(nifti(GREY), "scan.nii.gz")).identified == {}


def test_a_sequence_that_is_given_for_several_volumes_is_not_used():
    sent = study(t1=nifti(PIXELS[..., 0]), flair=nifti(GREY))
    volume = read_volume(sent, LIMITS, sequence="post")
    assert set(volume.identified) == {"pre", "flair"}
    assert any("was not used" in warning for warning in volume.warnings)
