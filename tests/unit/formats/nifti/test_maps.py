"""Masks and maps are restored onto the uploaded file's grid: shape, position and order, voxel by voxel."""

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from tests.finished_jobs import job_that_found, made
from tests.unit.pictures import png, upload
from tests.unit.volumes import ORDERS, TITLED, loaded, nifti, skull, study, volume_of

from metseg.errors import NotAvailable, UnusableImage
from metseg.formats import restore_uploaded_grid, write_mask
from metseg.results import exports

GREY = skull()[..., 1]
TYPES = ["uint8", "int16", "uint16", "int32", "float32", "float64"]


def marked(sent):
    """A job whose mask covers the bright uploaded voxels, in the pipeline's order."""
    volume = volume_of(upload(sent))
    return job_that_found(volume, volume.pixels[..., 0] > 100)


@pytest.mark.parametrize(("axes", "senses"), ORDERS)
def test_a_mask_is_restored_from_every_axis_order(axes, senses):
    rng = np.random.default_rng(7)
    voxels = rng.integers(0, 200, (17, 20, 23)).astype("int16")
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, (world, sense) in enumerate(zip(axes, senses, strict=True)):
        affine[world, axis] = sense * (1.0, 1.1, 1.2)[axis]
    sent = nifti(voxels, affine, pack=False)
    back = loaded(made(exports.export_mask, marked(sent), "nifti"))
    assert np.array_equal(np.asarray(back.dataobj), voxels > 100)
    assert back.get_data_dtype() == np.uint8
    assert np.array_equal(back.affine, loaded(sent).affine)


@st.composite
def files(draw):
    """A NIfTI file in any order, position and type, and its voxels."""
    axes, senses = draw(st.sampled_from(ORDERS))
    sizes = draw(st.tuples(*[st.floats(1.1, 6)] * 3))
    shape = draw(st.tuples(*[st.integers(16, 24)] * 3))
    turn = Rotation.from_euler("xyz", draw(st.tuples(*[st.floats(-20, 20)] * 3)), degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, (world, sense) in enumerate(zip(axes, senses, strict=True)):
        affine[world, axis] = sense * sizes[axis]
    affine[:3, :3] = turn @ affine[:3, :3]
    affine[:3, 3] = draw(st.tuples(*[st.floats(-150, 150)] * 3))
    voxels = np.random.default_rng(draw(st.integers(0, 9))).integers(0, 200, shape)
    codes = draw(st.sampled_from([(1, 1), (2, 1), (0, 4), (1, 2), (3, 0), (0, 0)]))
    options = {"version": draw(st.sampled_from([1, 2])), "order": draw(st.sampled_from("<>"))}
    voxels = voxels.astype(draw(st.sampled_from(TYPES)))
    return nifti(voxels, affine, pack=False, qform=codes[0], sform=codes[1], **options), voxels


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(files())
def test_the_mask_has_the_grid_and_order_of_any_file(file):
    sent, voxels = file
    there, back = loaded(sent), loaded(made(exports.export_mask, marked(sent), "nifti"))
    assert type(back) is type(there)
    assert back.shape == there.shape
    assert np.array_equal(np.asarray(back.dataobj), voxels > 100)
    assert np.array_equal(back.affine, there.affine)
    for field in ("sform_code", "qform_code", "xyzt_units", "qoffset_x", "quatern_b", "srow_y"):
        assert np.array_equal(back.header[field], there.header[field]), field
    assert np.array_equal(back.header["pixdim"][:4], there.header["pixdim"][:4])


def test_more_than_255_lesions_keep_their_numbers_on_the_uploaded_grid():
    voxels = np.zeros((64, 60, 20), "int16")
    voxels[::3, ::3, ::3] = 150
    sent = nifti(voxels, np.diag([-1.0, 1.1, -1.2, 1.0]), pack=False)
    job = marked(sent)
    back = loaded(made(exports.EXPORTS["lesion-numbers"].write, job))
    numbers = np.asarray(back.dataobj)
    assert numbers.dtype == np.uint16, "labels are whole numbers, unscaled"
    assert sorted(numbers[voxels > 100]) == list(range(1, len(job.figures.lesions) + 1))
    assert np.array_equal(numbers > 0, voxels > 100)


SHEARS = st.tuples(*[st.just(0.0) | st.floats(-0.8, 0.8)] * 6)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(ORDERS), SHEARS, st.tuples(*[st.floats(-20, 20)] * 3), st.tuples(*[st.integers(16, 22)] * 3))
def test_a_sheared_file_gets_its_mask_or_is_refused_with_a_sentence(order, shears, turn, shape):
    (axes, senses), shear = order, np.eye(3)
    shear[~np.eye(3, dtype=bool)] = shears
    placed = Rotation.from_euler("xyz", turn, degrees=True).as_matrix() @ np.eye(3)[list(axes)].T * senses @ shear
    affine = np.eye(4)
    affine[:3, :3] = placed * (2.0, 2.5, 3.0)
    voxels = np.random.default_rng(0).integers(0, 200, shape).astype("uint8")
    sent = nifti(voxels, affine, pack=False, qform=0)
    refusal, job = None, None
    try:
        job = marked(sent)
    except UnusableImage as error:
        refusal = error.detail
    if job is None:
        assert "right angle" in refusal
        return
    back = loaded(made(exports.export_mask, job, "nifti"))
    assert np.array_equal(np.asarray(back.dataobj), voxels > 100)
    assert np.array_equal(back.affine, loaded(sent).affine)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(ORDERS), st.tuples(*[st.floats(-0.7, 0.7)] * 2), st.tuples(*[st.floats(-20, 20)] * 3))
def test_sheared_slices_are_read_and_measured_exactly(order, tilt, turn):
    (axes, senses), affine, thick = order, np.eye(4), 6.0
    affine[:3, :3] = Rotation.from_euler("xyz", turn, degrees=True).as_matrix() @ np.eye(3)[list(axes)].T * senses
    affine[:3, 2] = thick * (affine[:3, :3] @ [*tilt, 1.0])  # the file's third axis is sheared, by 35 degrees and more
    voxels = np.random.default_rng(0).integers(0, 200, (18, 20, 16)).astype("uint8")
    volume = volume_of(upload(nifti(voxels, affine, pack=False, qform=0)))
    assert volume.spacing_mm == pytest.approx((thick, 1, 1), rel=1e-5)
    reported = any("sheared" in warning for warning in volume.warnings)
    leans = np.degrees(np.arctan(np.hypot(*tilt)))
    assert reported or leans < 1.01
    assert not reported or leans > 0.99
    job = job_that_found(volume, volume.pixels[..., 0] > 100)
    back = loaded(made(exports.export_mask, job, "nifti"))
    assert np.array_equal(np.asarray(back.dataobj), voxels > 100)
    where = tuple(np.argwhere(job.mask)[0])
    place = volume.affine @ [*where[::-1], 1]
    assert np.asarray(back.dataobj)[tuple(np.rint(np.linalg.solve(back.affine, place)[:3]).astype(int))] == 1


def test_probabilities_are_written_with_their_scale():
    sent = nifti(np.rint(GREY / GREY.max() * 200).astype("uint8"))
    job = marked(sent)
    back = loaded(made(exports.export_probability, job, "nifti"))
    expected = np.where(np.asarray(loaded(sent).dataobj) > 100, 0.75, 0.25)
    assert np.allclose(back.get_fdata(), expected, atol=1e-5)
    assert np.array_equal(back.affine, loaded(sent).affine)


@pytest.mark.parametrize("shape", [(64, 64, 6, 1), (64, 64), (64, 64, 1)])
def test_singleton_dimensions_are_restored(shape):
    voxels = np.rint(GREY / GREY.max() * 200).astype("uint8")[:, :, : 6 if len(shape) == 4 else 1].reshape(shape)
    back = loaded(made(exports.export_mask, marked(nifti(voxels)), "nifti"))
    assert back.shape == shape
    assert np.array_equal(np.asarray(back.dataobj), voxels > 100)


def test_the_mask_of_a_three_volume_file_is_one_volume():
    voxels = np.rint(skull() / skull().max() * 200).astype("uint8")
    back = loaded(made(exports.export_mask, marked(nifti(voxels)), "nifti"))
    assert np.array_equal(np.asarray(back.dataobj), voxels[..., 0] > 100)


def test_the_mask_has_the_grid_of_the_studys_reference():
    mirrored = TITLED @ np.array([[-1.0, 0, 0, 63], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    flair = nifti(np.rint(GREY / GREY.max() * 200).astype("uint8")[::-1], mirrored)
    volume = volume_of(*study(flair=flair, t1=nifti(GREY)), align="none")
    job = job_that_found(volume, volume.pixels[..., 1] > 100)
    back = loaded(made(exports.export_mask, job, "nifti"))
    assert np.array_equal(np.asarray(back.dataobj), np.asarray(loaded(flair).dataobj) > 100)
    assert np.array_equal(back.affine, loaded(flair).affine)


def test_images_keep_the_order_of_the_slices():
    job = marked(nifti(np.rint(GREY / GREY.max() * 200).astype("uint8")))
    assert len(made(exports.export_mask, job, "tiff")) > 0
    assert [each.name for each in job.result().slices][:2] == ["x_001", "x_002"]
    assert job.result().shape == job.mask.shape == (6, 64, 64)


def test_slices_are_restored_as_stored():
    volume = volume_of(upload(png()))
    job = job_that_found(volume, volume.pixels[..., 0] > 100)
    assert made(exports.export_mask, job, "nifti") == job.artefacts["mask.nii.gz"]


def test_a_grid_without_a_header_cannot_be_restored():
    job = marked(nifti(GREY))
    grid = job.result().grid.model_copy(update={"nifti": None})
    with pytest.raises(NotAvailable):
        restore_uploaded_grid(BytesIO(write_mask(job.mask, None, None)), grid, BytesIO())


def test_a_subset_of_slices_cannot_be_restored():
    volume = volume_of(upload(nifti(GREY)))
    assert volume.part(slice(1, 3)).grid is None
    assert replace(volume, names=volume.names).grid is not None
