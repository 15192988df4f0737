"""Studies of volumes in files, on several grids, through the gateway and the worker's code."""

import json

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation
from tests.gateways import problem
from tests.unit.volumes import loaded, nifti, opened_by_itk, saved_by_itk

from metseg.client import Client
from metseg.contracts import JobStatus
from metseg.phantom import head
from metseg_worker.context import open_context
from metseg_worker.tasks import run_job

SHIFT_MM = np.array([6.0, -4.0, 3.0])
TURN = Rotation.from_euler("xyz", [3.0, -2.0, 6.0], degrees=True)


@pytest.fixture(scope="module")
def volumes():
    """FLAIR on its grid; the post-contrast volume of a head that moved, on another grid; no T1."""
    volume = head(5, slices=40, size_px=96, spacing_mm=(3.5, 2.2, 2.2)).volume
    flair, post = (volume.pixels[..., channel].transpose(2, 1, 0).astype("float32") for channel in (1, 2))
    middle = (volume.affine @ [*(np.array(flair.shape) / 2), 1])[:3]
    motion = np.eye(4)
    motion[:3, :3], motion[:3, 3] = TURN.as_matrix(), middle + SHIFT_MM - TURN.as_matrix() @ middle
    finer = volume.affine @ np.diag([0.8, 0.8, 1.0, 1.0])
    seen = np.linalg.inv(volume.affine) @ np.linalg.inv(motion) @ finer
    moved = ndimage.affine_transform(post, seen, output_shape=(120, 120, 40), order=1)
    return {"scan_FLAIR.nii.gz": nifti(flair, volume.affine), "scan_T1_post.nii.gz": nifti(moved, finer)}


def done(gateway, volumes, **fields):
    """The result of a study, its mask as NIfTI, and its report."""
    with Client(gateway.url) as client:
        job = client.submit(list(volumes.items()), **fields)
        run_job(open_context(gateway.settings), job.id)
        assert client.job(job.id).status is JobStatus.SUCCEEDED
        return client.result(job.id), client.mask(job.id, "nifti"), client.report(job.id).decode()


def test_a_head_that_moved_is_registered_and_the_result_reports_how_far(gateway, volumes):
    result, mask, report = done(gateway, volumes)
    [registered] = result.alignment
    assert registered.role == "post"
    assert registered.moved_mm == pytest.approx(np.linalg.norm(SHIFT_MM), abs=1.0)
    assert registered.turned_degrees == pytest.approx(np.degrees(TURN.magnitude()), abs=1.0)
    sentence = f"moved it by {registered.moved_mm:.1f} mm and rotated it by {registered.turned_degrees:.1f} degrees"
    assert any(sentence in warning for warning in result.warnings)
    assert sentence in report
    assert set(result.sequences) == {"pre", "flair", "post"}
    sent, back = loaded(volumes["scan_FLAIR.nii.gz"]), loaded(mask)
    assert back.shape == sent.shape
    assert np.array_equal(back.affine, sent.affine)
    assert np.asarray(back.dataobj).any()


def test_registration_can_be_turned_off(gateway, volumes):
    result, _, report = done(gateway, volumes, align="none")
    assert result.alignment == []
    assert any("without registration, as requested" in warning for warning in result.warnings)
    assert "without registration, as requested" in report


def test_volumes_by_field_need_no_names(gateway, volumes):
    flair, post = volumes.values()
    parts = [("flair", ("a.nii.gz", flair)), ("post", ("b.nii.gz", post))]
    answer = gateway.http.post("/v1/jobs", files=parts, data={"align": "none"})
    assert answer.status_code == 202, answer.text
    request = json.loads(gateway.store.get(f"jobs/{answer.json()['id']}/request.json"))
    assert [file["role"] for file in request["inputs"]] == ["flair", "post"]
    assert request["align"] == "none"


def test_an_unknown_alignment_is_refused(gateway, volumes):
    answer = gateway.http.post("/v1/jobs", files=[("files", item) for item in volumes.items()], data={"align": "warp"})
    assert "`rigid` or `none`" in problem(answer, 422, "invalid-parameter")


def test_nrrd_and_metaimage_are_one_study_and_the_mask_lies_on_their_grid(gateway):
    volume = head(5, slices=40, size_px=96, spacing_mm=(3.5, 2.2, 2.2)).volume
    pre, flair, post = (volume.pixels[..., channel].transpose(2, 1, 0) for channel in range(3))
    turned = volume.affine @ np.array([[-1, 0, 0, 95], [0, -1, 0, 95], [0, 0, 1, 0], [0, 0, 0, 1]])
    files = saved_by_itk(flair[::-1, ::-1], turned, ".nrrd", compress=True, name="p_flair")
    files |= saved_by_itk(pre, volume.affine, ".mha", name="p_t1")
    files |= saved_by_itk(post, volume.affine, ".mhd", name="p_t1c")
    result, mask, _ = done(gateway, files)
    assert len(files) == 4 and not any("left out" in warning for warning in result.warnings)
    assert result.alignment == [] or max(one.moved_mm for one in result.alignment) < 0.5
    found, place = opened_by_itk("mask.nii.gz", mask)
    sent, expected = opened_by_itk("p_flair.nrrd", files["p_flair.nrrd"])
    assert found.shape == sent.shape and found.any()
    assert np.allclose(place, expected, atol=1e-4)
