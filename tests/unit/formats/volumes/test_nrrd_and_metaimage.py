"""NRRD and MetaImage as SimpleITK writes them; the mask is restored onto their grid; hostile headers are refused."""

import contextlib
import gzip
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from tests.finished_jobs import job_that_found, made
from tests.unit.pictures import LIMITS, upload, zipped
from tests.unit.volumes import ORDERS, TITLED, nifti, opened_by_itk, ours, refused, saved_by_itk, skull, volume_of

from metseg.errors import (
    ArchiveBomb,
    BadInput,
    ImageTooLarge,
    InvalidParameter,
    MixedSizes,
    UnreadableImage,
    UnsupportedFormat,
    UnusableImage,
)
from metseg.formats import inspect_upload, read_volume
from metseg.phantom import head
from metseg.phantom.dicom import study_files
from metseg.results import exports

WRITTEN = [(".nrrd", False), (".nrrd", True), (".mha", False), (".mha", True), (".mhd", False), (".mhd", True)]
PIXELS = skull()
GREY = PIXELS[..., 1]
LEVELS = np.rint(GREY / GREY.max() * 200).astype("int16")


def sent(files, role=None):
    return [upload(content, name, role) for name, content in files.items()]


def nrrd(voxels, *, encoding="raw", directions=True, **fields):
    """An NRRD file made by hand; `fields` replace the usual ones, None removes one."""
    vectors = " ".join(f"({','.join(map(str, column))})" for column in (np.diag([-1, -1, 1]) @ TITLED[:3, :3]).T)
    usual = {
        "type": "int16",
        "dimension": voxels.ndim,
        "space": "left-posterior-superior",
        "sizes": " ".join(map(str, voxels.shape)),
        "space directions": vectors,
        "kinds": "domain domain domain",
        "endian": "little",
        "encoding": encoding,
        "space origin": "(0,0,0)",
    }
    lines = (usual | {name.replace("_", " "): value for name, value in fields.items()}).items()
    header = "NRRD0004\n# a comment\n" + "".join(f"{name}: {value}\n" for name, value in lines if value is not None)
    content = voxels.tobytes(order="F")
    return f"{header}key:=value\n\n".encode() + (gzip.compress(content, mtime=0) if encoding == "gzip" else content)


def mha(voxels, *, compressed=False, **fields):
    """A MetaImage file made by hand; see `nrrd`."""
    usual = {
        "ObjectType": "Image",
        "NDims": voxels.ndim,
        "CompressedData": compressed,
        "TransformMatrix": "1 0 0 0 1 0 0 0 1",
        "Offset": "0 0 0",
        "ElementSpacing": "0.9 0.85 5",
        "DimSize": " ".join(map(str, voxels.shape)),
        "ElementType": "MET_SHORT",
    }
    last = {"ElementDataFile": fields.pop("ElementDataFile", "LOCAL")}
    header = "".join(f"{name} = {value}\n" for name, value in (usual | fields | last).items() if value is not None)
    content = voxels.tobytes(order="F")
    return header.encode() + (zlib.compress(content) if compressed else content)


@pytest.mark.parametrize(("suffix", "compress"), WRITTEN)
def test_a_volume_is_read_in_patient_space(suffix, compress):
    files = saved_by_itk(LEVELS, TITLED, suffix, compress=compress)
    volume = volume_of(*sent(files))
    assert np.array_equal(volume.pixels[..., 0], ours(LEVELS))
    assert np.allclose(volume.affine, TITLED, atol=1e-5)
    assert volume.spacing_mm == pytest.approx(np.linalg.norm(TITLED[:3, :3], axis=0)[::-1])
    assert volume.names[0] == "scan_001"
    assert volume.source == ("nrrd" if suffix == ".nrrd" else "metaimage")
    assert not any("left out" in warning or "orientation" in warning for warning in volume.warnings)
    assert inspect_upload(sent(files), LIMITS)[:4] == (volume.source, 6, 64, 64)


@pytest.mark.parametrize(("suffix", "compress"), WRITTEN)
@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "uint16", "int16", "int32", "uint32", "int64", "uint64", "float32", "float64"]
)
def test_every_scalar_voxel_type_is_read(suffix, compress, dtype):
    voxels = np.rint(GREY / GREY.max() * 100).astype(dtype)
    files = saved_by_itk(voxels, TITLED, suffix, compress=compress)
    assert np.array_equal(volume_of(*sent(files)).pixels[..., 1], ours(voxels))


def back_onto_its_grid(voxels, affine, suffix, compress):
    """The mask of a file's bright voxels, as NIfTI; SimpleITK must see it on the file's grid."""
    files = saved_by_itk(voxels, affine, suffix, compress=compress)
    volume = volume_of(*sent(files))
    mask = made(exports.export_mask, job_that_found(volume, volume.pixels[..., 0] > 100), "nifti")
    stored, place = opened_by_itk("mask.nii.gz", mask)
    assert np.array_equal(stored, voxels > 100)
    assert np.allclose(place, affine, atol=2e-4)


@pytest.mark.parametrize(("axes", "senses"), ORDERS)
@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_a_mask_is_restored_from_every_axis_order(axes, senses, suffix):
    voxels = np.random.default_rng(7).integers(0, 200, (17, 20, 23)).astype("int16")
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, (world, sense) in enumerate(zip(axes, senses, strict=True)):
        affine[world, axis] = sense * (1.0, 1.1, 1.2)[axis]
    back_onto_its_grid(voxels, affine, suffix, compress=False)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(ORDERS),
    st.tuples(*[st.floats(1.1, 6)] * 3),
    st.tuples(*[st.integers(16, 24)] * 3),
    st.tuples(*[st.floats(-20, 20)] * 3),
    st.tuples(*[st.floats(-150, 150)] * 3),
    st.sampled_from(WRITTEN),
    st.sampled_from(["uint8", "int16", "uint16", "int32", "float32", "float64"]),
)
def test_the_mask_has_the_grid_of_any_file(order, sizes, shape, turn, place, written, dtype):
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, (world, sense) in enumerate(zip(*order, strict=True)):
        affine[world, axis] = sense * sizes[axis]
    affine[:3, :3] = Rotation.from_euler("xyz", turn, degrees=True).as_matrix() @ affine[:3, :3]
    affine[:3, 3] = place
    voxels = np.random.default_rng(sum(shape)).integers(0, 200, shape).astype(dtype)
    back_onto_its_grid(voxels, affine, *written)


def test_sequences_are_recognised_by_name_and_formats_may_mix():
    files = saved_by_itk(PIXELS[..., 0], TITLED, ".nrrd", name="p_t1n")
    files |= {"p_t2f.nii.gz": nifti(PIXELS[..., 1])}
    files |= saved_by_itk(PIXELS[..., 2], TITLED, ".mhd", name="p_t1ce")
    for uploads in (sent(files), [upload(zipped({f"p/{name}": data for name, data in files.items()}), "p.zip")]):
        volume = volume_of(*uploads)
        assert np.array_equal(volume.pixels, PIXELS.transpose(2, 1, 0, 3))
        assert volume.source == "metaimage+nifti+nrrd"
        assert volume.warnings == ()
        assert volume.alignment == ()


def test_a_field_overrides_the_name_of_a_sequence():
    uploads = sent(saved_by_itk(PIXELS[..., 0], TITLED, ".mhd", name="a"), "pre")
    uploads += sent(saved_by_itk(PIXELS[..., 1], TITLED, ".mhd", compress=True, name="a"), "flair")
    uploads += sent(saved_by_itk(PIXELS[..., 2], TITLED, ".nrrd", name="a"), "post")
    assert np.array_equal(volume_of(*uploads).pixels, PIXELS.transpose(2, 1, 0, 3))


@pytest.mark.parametrize("name", ["Segmentation.seg.nrrd", "t2.mha"])
def test_a_single_file_of_another_kind_is_refused(name):
    content = nrrd(LEVELS) if name.endswith("nrrd") else mha(LEVELS)
    assert "does not use" in refused(UnusableImage, upload(content, name))


def test_a_slicer_segmentation_in_a_dicom_study_is_left_out():
    files = study_files(head(3, slices=6, size_px=64, lesions=1), "d")
    alone = volume_of(upload(zipped(files), "d.zip"), align="none")
    volume = volume_of(upload(zipped(files | {"d/Segmentation.seg.nrrd": nrrd(LEVELS)}), "d.zip"), align="none")
    assert np.array_equal(volume.pixels, alone.pixels)
    assert any("left out" in warning for warning in volume.warnings)
    with pytest.raises(MixedSizes):
        volume_of(upload(zipped(files | {"d/flair.nrrd": nrrd(LEVELS)}), "d.zip"))


@pytest.mark.parametrize("encoding", ["raw", "gzip"])
def test_nrrd_is_read_in_other_spaces_byte_orders_and_units(encoding):
    ras = " ".join(f"({','.join(map(str, column / 1000))})" for column in TITLED[:3, :3].T)
    content = nrrd(
        LEVELS.astype(">i2"),
        encoding=encoding,
        endian="big",
        space="RAS",
        space_directions=ras,
        space_origin="(0.088,0.091,-0.04)",
        space_units='"m" "m" "m"',
    )
    volume = volume_of(upload(content, "scan.nrrd"))
    assert np.array_equal(volume.pixels[..., 0], ours(LEVELS))
    assert np.allclose(volume.affine, TITLED, atol=1e-5)


def test_metaimage_is_read_in_the_other_byte_order():
    volume = volume_of(upload(mha(LEVELS.astype(">i2"), BinaryDataByteOrderMSB=True), "scan.mha"))
    assert np.array_equal(volume.pixels[..., 0], ours(LEVELS))


@pytest.mark.parametrize(
    "content",
    [
        nrrd(LEVELS, space=None, space_directions=None, space_origin=None, spacings="0.9 0.85 5"),
        nrrd(LEVELS, space="scanner-xyz", space_directions="(0.9,0,0) (0,0.85,0) (0,0,5)"),
        mha(LEVELS, TransformMatrix=None, Offset=None),
        mha(LEVELS, TransformMatrix="1 0 0 1 0 0 0 0 1"),
    ],
    ids=["nrrd without space", "nrrd in another space", "mha without matrix", "mha with a singular one"],
)
def test_a_missing_orientation_is_assumed_with_a_warning(content):
    volume = volume_of(upload(content, "scan"))
    assert volume.affine is None
    assert volume.spacing_mm == pytest.approx((5, 0.85, 0.9))
    assert np.array_equal(
        volume.pixels[..., 0], ours(LEVELS)
    )  # ITK's usual axes point to the left, the back and the head
    assert any("orientation" in warning for warning in volume.warnings)
    back = made(exports.export_mask, job_that_found(volume, volume.pixels[..., 0] > 100), "nifti")
    stored, place = opened_by_itk("mask.nii.gz", back)
    assert np.array_equal(stored, LEVELS > 100)
    assert np.allclose(place, np.diag([-0.9, -0.85, 5, 1]))


def test_three_volumes_along_the_last_axis_are_a_complete_study():
    voxels = np.rint(PIXELS).astype("int16")
    vectors = "(0.9,0,0) (0,0.85,0) (0,0,5) none"
    for content in (
        nrrd(voxels, space_directions=vectors, kinds="domain domain domain list"),
        mha(voxels, TransformMatrix="1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1", Offset="0 0 0 0", ElementSpacing="1 1 5 1"),
    ):
        volume = volume_of(upload(content, "scan"))
        assert np.array_equal(volume.pixels, voxels.transpose(2, 1, 0, 3))
        assert volume.affine is not None


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (nrrd(LEVELS, data_file="/etc/passwd"), "another file"),
        (nrrd(LEVELS, data_file="scan%03d.raw 1 6 1"), "another file"),
        (nrrd(LEVELS, encoding="bzip2"), "bzip2"),
        (nrrd(LEVELS, encoding="ascii"), "text"),
        (nrrd(LEVELS, line_skip=2), "lines"),
        (nrrd(LEVELS, type="block"), "type"),
        (
            nrrd(
                np.stack([LEVELS] * 3),
                space_directions="none (0.9,0,0) (0,0.85,0) (0,0,5)",
                kinds="RGB-color domain domain domain",
            ),
            "several values",
        ),
        (mha(LEVELS, ElementDataFile="/etc/passwd"), "another folder"),
        (mha(LEVELS, ElementDataFile="../scan.raw"), "another folder"),
        (mha(LEVELS, ElementDataFile="LIST"), "several files"),
        (mha(LEVELS, ElementDataFile="scan%03d.raw 1 6 1"), "several files"),
        (mha(LEVELS, ElementDataFile="scan.raw"), "without the file of its voxels"),
        (mha(LEVELS, ElementNumberOfChannels=3), "several values"),
        (mha(LEVELS, ElementType="MET_OTHER"), "type"),
        (mha(LEVELS, BinaryData=False), "text"),
        (mha(LEVELS, ObjectType="Tube"), "no image"),
    ],
)
def test_an_unsupported_file_is_refused_with_its_reason(content, named):
    assert named in refused(UnsupportedFormat, upload(content, "scan"))


@pytest.mark.parametrize("place", ["same", "other folder", "other field"])
def test_a_header_finds_its_voxels_only_next_to_itself(place):
    files = saved_by_itk(LEVELS, TITLED, ".mhd")
    if place == "other field":
        uploads = [
            upload(files["scan.mhd"], "scan.mhd", "flair"),
            upload(files["scan.raw"], "scan.raw", "post"),
            upload(nrrd(LEVELS), "scan.nrrd", "post"),
        ]
    else:
        folder = "a" if place == "same" else "b"
        uploads = [upload(zipped({"a/scan.mhd": files["scan.mhd"], f"{folder}/scan.raw": files["scan.raw"]}), "x.zip")]
    if place == "same":
        assert volume_of(*uploads).shape == (6, 64, 64)
    else:
        refused(UnsupportedFormat, *uploads)


@pytest.mark.parametrize("change", ["sizes", "spacings", "cut", "unknown", "negative", "longer", "words"])
@pytest.mark.parametrize("format", ["nrrd", "mha"])
def test_a_damaged_file_is_unreadable(format, change):
    wrong = {"sizes": "64 64", "negative": "64 -64 6", "longer": "64 64 7", "words": "64 64 x", "unknown": "9" * 5000}
    if change == "cut":
        content = (nrrd(LEVELS) if format == "nrrd" else mha(LEVELS))[:-1]
    elif change == "spacings":
        content = nrrd(LEVELS, space_origin="(0,0)") if format == "nrrd" else mha(LEVELS, ElementSpacing="a b c")
    else:
        content = nrrd(LEVELS, sizes=wrong[change]) if format == "nrrd" else mha(LEVELS, DimSize=wrong[change])
    with pytest.raises(UnreadableImage):
        inspect_upload([upload(content, "scan")], LIMITS)


@pytest.mark.parametrize("kept", [-1, -5, -100])
@pytest.mark.parametrize("format", ["nrrd", "mha"])
def test_a_truncated_or_damaged_compressed_file_is_unreadable(format, kept):
    content = nrrd(LEVELS, encoding="gzip") if format == "nrrd" else mha(LEVELS, compressed=True)
    with pytest.raises(UnreadableImage):
        read_volume([upload(content[:kept], "scan")], LIMITS)
    damaged = bytearray(content)
    damaged[-6 if format == "nrrd" else -2] ^= 1
    with pytest.raises(UnreadableImage):
        read_volume([upload(bytes(damaged), "scan")], LIMITS)


@pytest.mark.parametrize("shape", [(8192, 8192, 1), (900, 900, 900), (1024, 1024, 150, 3)])
@pytest.mark.parametrize("format", ["nrrd", "mha"])
def test_a_bomb_is_refused_by_its_header_before_allocation(format, shape):
    zeros = np.zeros(2**20, "uint8")
    sizes = " ".join(map(str, shape))
    if format == "nrrd":
        more = {"kinds": "domain domain domain list", "space_directions": None} if len(shape) == 4 else {}
        content = nrrd(zeros, encoding="gzip", type="double", dimension=len(shape), sizes=sizes, **more)
    else:
        content = mha(zeros, compressed=True, ElementType="MET_DOUBLE", NDims=len(shape), DimSize=sizes)
    tracemalloc.start()
    with pytest.raises((ArchiveBomb, ImageTooLarge)):
        volume_of(upload(content, "scan"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 * 2**20


def test_two_files_of_one_sequence_are_refused():
    refused(InvalidParameter, upload(nrrd(LEVELS), "flair.nrrd"), upload(nifti(GREY), "a_flair.nii.gz"))


HEADS = [nrrd(LEVELS[:16, :16, :2])[:-1024], mha(LEVELS[:16, :16, :2])[:-1024]]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(HEADS), st.lists(st.tuples(st.integers(0, 500), st.binary(min_size=1, max_size=6)), max_size=4))
def test_any_header_is_read_or_refused(head, changes):
    content = bytearray(head + LEVELS[:16, :16, :2].tobytes(order="F"))
    for at, data in changes:
        content[at : at + len(data)] = data
    with contextlib.suppress(BadInput):
        assert read_volume([upload(bytes(content), "scan")], LIMITS).shape
