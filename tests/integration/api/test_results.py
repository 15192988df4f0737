"""Results over REST: each artefact in each format, with an ETag, streamed, and only if it exists."""

import base64
import gzip
import hashlib
import io
import uuid
import zipfile
from typing import NamedTuple

import httpx
import nibabel
import numpy as np
import pytest
from PIL import Image, ImageSequence
from tests.gateways import begin, png, problem, result
from tests.stored_results import cut, flip_a_bit, put_artefacts, stored_artefact

from metseg.client import Client, RemoteProblem
from metseg.contracts import Problem, Result
from metseg.errors import ProcessingFailed
from metseg.formats import write_display_volume, write_mask, write_probability
from metseg.imaging import rendering

NAMES = ("front", "middle", "back")


class Done(NamedTuple):
    """A job that succeeded, and its mask."""

    path: str
    mask: np.ndarray


@pytest.fixture(scope="module")
def done(gateway) -> Done:
    job = gateway.accepted(png(1), png(2), png(3))
    mask = np.random.default_rng(0).random((3, 32, 40)) > 0.5
    gateway.succeed(job.id, mask, NAMES)
    return Done(f"/v1/jobs/{job.id}", mask)


def test_the_result_is_what_the_worker_wrote(gateway, done):
    figures = Result.model_validate(gateway.http.get(f"{done.path}/result").json())
    assert figures.shape == (3, 32, 40)
    assert [each.area_px for each in figures.slices] == done.mask.sum((1, 2)).tolist()


def test_the_nifti_mask_is_the_object_in_the_store(gateway, done):
    response = gateway.http.get(f"{done.path}/mask")
    assert response.headers["Content-Type"] == "application/gzip"
    assert response.headers["Content-Disposition"].endswith('_mask.nii.gz"')
    assert int(response.headers["Content-Length"]) == len(response.content)
    assert response.content == stored_artefact(gateway.jobs, done.path.split("/")[-1], "whole.nii.gz")
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(response.content))
    np.testing.assert_array_equal(np.asarray(image.dataobj).T, done.mask)


@pytest.mark.parametrize(("format", "media_type"), [("png", "image/png"), ("tiff", "image/tiff")])
def test_an_image_of_the_mask_has_a_page_per_slice(gateway, done, format, media_type):
    response = gateway.http.get(f"{done.path}/mask", params={"format": format})
    assert response.headers["Content-Type"] == media_type
    pages = [np.asarray(page.convert("L")) for page in ImageSequence.Iterator(Image.open(io.BytesIO(response.content)))]
    np.testing.assert_array_equal(np.stack(pages), done.mask * np.uint8(255))


def test_the_zip_holds_one_mask_per_uploaded_slice(gateway, done):
    response = gateway.http.get(f"{done.path}/mask?format=zip")
    assert response.headers["Content-Type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        assert archive.namelist() == [f"{name}_mask.png" for name in NAMES]
        masks = [np.asarray(Image.open(archive.open(name))) for name in archive.namelist()]
    np.testing.assert_array_equal(np.stack(masks), done.mask * np.uint8(255))


def test_a_stored_file_comes_with_its_checksum(gateway, done):
    response = gateway.http.get(f"{done.path}/mask")
    sha256 = base64.b64encode(hashlib.sha256(response.content).digest()).decode()
    assert response.headers["Repr-Digest"] == f"sha-256=:{sha256}:"


@pytest.mark.parametrize("path", ["mask", "mask?format=tiff", "overlay/0", "volume/flair"])
def test_a_truncated_result_is_an_error_not_a_shorter_file(gateway, done, path):
    job = gateway.accepted(png(1), png(2), png(3))
    gateway.succeed(job.id, done.mask, NAMES)
    cut(gateway.jobs, job.id, "mask.nii.gz")
    problem(gateway.http.get(f"/v1/jobs/{job.id}/{path}"), 500, "processing-failed")


def test_a_changed_result_is_cut_not_completed(gateway, done):
    job = gateway.accepted(png(1), png(2), png(3))
    gateway.succeed(job.id, done.mask, NAMES)
    flip_a_bit(gateway.jobs, job.id, "whole.nii.gz")
    with pytest.raises(httpx.RemoteProtocolError):
        gateway.http.get(f"/v1/jobs/{job.id}/mask")


def test_dicom_seg_needs_a_dicom_study(gateway, done):
    detail = problem(gateway.http.get(f"{done.path}/mask?format=dicom-seg"), 406, "not-available")
    assert "DICOM" in detail


@pytest.mark.parametrize("format", ["png", "tiff"])
def test_the_probability_of_a_single_slice_is_a_16_bit_image(gateway, format):
    job = gateway.accepted()
    gateway.succeed(job.id, np.eye(32, dtype=bool)[np.newaxis], ("slice_0",))
    response = gateway.http.get(f"/v1/jobs/{job.id}/probability", params={"format": format})
    pixels = np.asarray(Image.open(io.BytesIO(response.content)))
    np.testing.assert_allclose(pixels / 65535, np.where(np.eye(32), 0.75, 0.25), atol=1e-4)


def test_the_probability_of_a_study_is_not_available_as_png(gateway, done):
    assert "tiff" in problem(gateway.http.get(f"{done.path}/probability?format=png"), 406, "not-available")


def test_the_probability_is_nifti_by_default(gateway, done):
    response = gateway.http.get(f"{done.path}/probability")
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(response.content))
    np.testing.assert_allclose(image.get_fdata().T, np.where(done.mask, 0.75, 0.25), atol=1e-4)


def test_the_probability_of_a_study_is_a_zip_of_pngs(gateway, done):
    response = gateway.http.get(f"{done.path}/probability?format=zip")
    assert response.headers["Content-Disposition"].endswith('_probabilities.zip"')
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        assert archive.namelist() == [f"{name}_probability.png" for name in NAMES]


def test_uncertainty_is_returned_if_requested(gateway, done):
    assert "uncertainty=true" in problem(gateway.http.get(f"{done.path}/uncertainty"), 406, "not-available")
    problem(gateway.http.get(f"/v1/jobs/{uuid.uuid4().hex}/uncertainty"), 404, "not-found")
    job_id = gateway.accepted(png(1), png(2), png(3)).id
    gateway.succeed(job_id, done.mask, NAMES)
    spread = np.where(done.mask, 0.5, 0).astype(np.float32)
    stored = write_probability(spread, "nifti")
    put_artefacts(gateway.jobs, job_id, {"uncertainty.nii.gz": stored})
    address = f"/v1/jobs/{job_id}/uncertainty"
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(gateway.http.get(address).content))
    np.testing.assert_allclose(image.get_fdata().T, spread, atol=1e-4)
    with zipfile.ZipFile(io.BytesIO(gateway.http.get(f"{address}?format=zip").content)) as archive:
        assert archive.namelist() == [f"{name}_uncertainty.png" for name in NAMES]
    assert Image.open(io.BytesIO(gateway.http.get(f"{address}?format=tiff").content)).n_frames == len(NAMES)
    assert "tiff" in problem(gateway.http.get(f"{address}?format=png"), 406, "not-available")
    with Client(str(gateway.http.base_url)) as client:
        assert client.uncertainty(job_id) == stored


@pytest.mark.parametrize(
    ("path", "media_type", "begin"),
    [
        ("lesions", "text/csv; charset=utf-8", b"\xef\xbb\xbfnumber,"),
        ("lesions?format=json", "application/json", b"{"),
        ("report", "text/html; charset=utf-8", b"<!DOCTYPE html>"),
        ("animation", "image/webp", b"RIFF"),
        ("overlays", "application/zip", b"PK"),
    ],
)
def test_a_job_has_a_report_and_tables(gateway, done, path, media_type, begin):
    response = gateway.http.get(f"{done.path}/{path}")
    assert (response.status_code, response.headers["Content-Type"]) == (200, media_type)
    assert response.content.startswith(begin)


def test_a_report_in_a_browser_can_run_and_fetch_nothing(gateway, done):
    policy = gateway.http.get(f"{done.path}/report").headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "sandbox" in policy
    assert "script-src" not in policy


def test_a_report_outlives_its_model(gateway):
    job = gateway.accepted()
    gateway.succeed(job.id, np.eye(32, dtype=bool)[np.newaxis], ("slice_0",))
    figures = gateway.jobs.result(job.id).model_copy(update={"model_version": "20200101-000000-gone"})
    put_artefacts(gateway.jobs, job.id, {"result.json": figures.model_dump_json().encode()})
    assert "no longer there" in gateway.http.get(f"/v1/jobs/{job.id}/report").text


@pytest.mark.parametrize("kind", ["overlay", "slice"])
def test_each_slice_has_its_images(gateway, done, kind):
    kept = png(2, 32, 40)
    response = gateway.http.get(f"{done.path}/{kind}/2")
    assert response.headers["Content-Type"] == "image/png"
    assert response.content == (kept if kind == "slice" else rendering.draw_contours(kept, done.mask[2]))
    assert response.headers["Content-Disposition"].startswith("inline;")


@pytest.mark.parametrize("kind", ["overlay", "slice"])
@pytest.mark.parametrize("index", ["3", "9999"])
def test_a_missing_slice_is_404(gateway, done, kind, index):
    problem(gateway.http.get(f"{done.path}/{kind}/{index}"), 404, "not-found")


@pytest.mark.parametrize("index", ["-1", "10000", "first"])
def test_an_impossible_slice_is_refused(gateway, done, index):
    problem(gateway.http.get(f"{done.path}/overlay/{index}"), 422, "invalid-parameter")


@pytest.mark.parametrize("path", ["mask?format=gif", "mask?format=", "probability?format=gif"])
def test_an_unknown_format_is_refused_with_a_list_of_formats(gateway, done, path):
    assert "'png'" in problem(gateway.http.get(f"{done.path}/{path}"), 422, "invalid-parameter")


@pytest.mark.parametrize(
    "artefact",
    [
        "mask",
        "mask?format=png",
        "mask?format=zip",
        "probability?format=tiff",
        "overlay/0",
        "lesions",
        "report",
        "animation",
        "overlays",
    ],
)
def test_a_client_that_has_an_artefact_gets_304(gateway, done, artefact):
    first = gateway.http.get(f"{done.path}/{artefact}")
    again = gateway.http.get(
        f"{done.path}/{artefact}", headers={"If-None-Match": f'"other", W/{first.headers["ETag"]}'}
    )
    assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", first.headers["ETag"])
    other = gateway.http.get(f"{done.path}/{artefact}", headers={"If-None-Match": '"other"'})
    assert (other.status_code, other.content) == (200, first.content)
    assert "no-cache" in first.headers["Cache-Control"]


def test_each_format_has_its_own_etag(gateway, done):
    etags = {
        gateway.http.get(f"{done.path}/mask?format={each}").headers["ETag"] for each in ("png", "tiff", "nifti", "zip")
    }
    assert len(etags) == 4


ARTEFACTS = ["result", "mask", "mask?format=png", "mask?format=zip", "probability", "overlay/0", "slice/0"]
ARTEFACTS += ["lesions", "lesions?format=json", "report", "animation", "overlays"]


@pytest.mark.parametrize("artefact", ARTEFACTS)
def test_a_queued_job_has_no_results(gateway, artefact):
    job = gateway.accepted()
    assert "queued" in problem(gateway.http.get(f"/v1/jobs/{job.id}/{artefact}"), 409, "not-finished")


def test_a_failed_job_has_no_results(gateway):
    job = gateway.accepted()
    begin(gateway.runner, job.id)
    gateway.runner.fail(job.id, Problem(type="/problems/unusable-image", title="T", status=422, detail="D."))
    assert "failed" in problem(gateway.http.get(f"/v1/jobs/{job.id}/mask"), 409, "not-finished")


@pytest.mark.parametrize("artefact", ARTEFACTS)
def test_an_unknown_job_has_no_results(gateway, artefact):
    problem(gateway.http.get(f"/v1/jobs/{'0' * 32}/{artefact}"), 404, "not-found")


def test_an_aborted_download_frees_its_connection(gateway):
    job = gateway.accepted()
    large = np.random.default_rng(0).bytes(16 * 2**20)  # more than the buffers in between hold
    begin(gateway.runner, job.id)
    gateway.runner.finish(
        job.id, result(job.id, np.zeros((1, 32, 32), bool), ("slice_0",)), {"mask.nii.gz": large, "whole.nii.gz": large}
    )
    for _ in range(50):  # more than the connections in the store's pool
        with gateway.http.stream("GET", f"/v1/jobs/{job.id}/mask") as response:
            assert next(response.iter_raw(1024))
    assert gateway.http.get(f"/v1/jobs/{job.id}/mask").content == large


@pytest.mark.parametrize("layer", ["pre", "flair", "post"])
def test_a_channel_is_a_volume_on_the_grid_of_the_mask(gateway, done, layer):
    response = gateway.http.get(f"{done.path}/volume/{layer}")
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(response.content))
    kept = [np.asarray(Image.open(io.BytesIO(png(index, 32, 40)))) for index in range(3)]
    np.testing.assert_array_equal(np.asarray(image.dataobj).T, np.stack(kept))
    again = gateway.http.get(f"{done.path}/volume/{layer}", headers={"If-None-Match": response.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_the_channels_of_a_colour_study_are_distinct():
    rng = np.random.default_rng(5)
    study = rng.integers(0, 255, (4, 16, 24, 3), dtype=np.uint8)
    affine = np.array([[0, 0, 3.0, -40], [-1.5, 0, 0, 12], [0, -1.25, 0, 7], [0, 0, 0, 1]])
    mask = write_mask(np.zeros((4, 16, 24), bool), ["s"] * 4, "nifti", affine=affine)
    for channel in range(3):
        packed = b"".join(write_display_volume(io.BytesIO(mask), map(rendering.encode_png, study), channel))
        image = nibabel.Nifti1Image.from_bytes(gzip.decompress(packed))
        np.testing.assert_array_equal(np.asarray(image.dataobj).T, study[..., channel])
        np.testing.assert_allclose(image.affine, affine)


@pytest.mark.parametrize("harm", ["a picture is cut", "a picture is missing", "a picture is of another size", "mask"])
def test_a_damaged_study_gives_no_volume(harm):
    study = np.zeros((3, 16, 24, 3), np.uint8)
    mask = write_mask(np.zeros((3, 16, 24), bool), ["s"] * 3, "nifti")
    kept = [rendering.encode_png(pixels) for pixels in study]
    if harm == "a picture is cut":
        kept[1] = kept[1][:40]
    elif harm == "a picture is missing":
        kept.pop()
    elif harm == "mask":
        mask = mask[:30]
    else:
        kept[2] = rendering.encode_png(study[2, :8])
    with pytest.raises(ProcessingFailed, match="damaged"):
        list(write_display_volume(io.BytesIO(mask), kept, 1))


def test_the_mask_is_a_layer_and_a_missing_map_is_404(gateway, done):
    assert gateway.http.get(f"{done.path}/volume/mask").content == gateway.http.get(f"{done.path}/mask").content
    problem(gateway.http.get(f"{done.path}/volume/uncertainty"), 404, "not-found")
    problem(gateway.http.get(f"{done.path}/volume/result"), 422, "invalid-parameter")


def test_the_client_reads_a_volume_whole_or_in_chunks_and_not_twice(gateway, done):
    job_id = done.path.rsplit("/", 1)[1]
    with Client(gateway.url) as client:
        whole = client.volume(job_id, "flair")
        with client.volume_chunks(job_id, "flair") as (etag, chunks):
            assert b"".join(chunks) == whole
        with client.volume_chunks(job_id, "flair", etag) as (_, chunks):
            assert list(chunks) == []
        with pytest.raises(RemoteProblem) as refused:
            client.volume(job_id, "uncertainty")
        assert refused.value.status == 404


def test_a_study_that_is_deleted_while_it_is_sent_does_not_end_as_a_whole_file(gateway):
    slices = 60
    job = gateway.accepted()
    mask, names = np.zeros((slices, 512, 512), bool), tuple(map(str, range(slices)))
    gateway.succeed(job.id, mask, names)
    for query in ("volume/flair", "volume/mask"):
        whole = gateway.http.get(f"/v1/jobs/{job.id}/{query}").content
        assert len(gzip.decompress(whole)) == 352 + mask.size
    with gateway.http.stream("GET", f"/v1/jobs/{job.id}/volume/flair") as response:
        chunks = response.iter_raw()
        next(chunks)
        gateway.jobs.delete(job.id)
        with pytest.raises(httpx.RemoteProtocolError):
            list(chunks)


def test_a_rendered_file_is_fetched_again_once_another_release_renders_it(gateway, done, monkeypatch):
    paths = ("report", "lesions", "overlays", "animation", "mask?format=zip", "overlay/1", "volume/flair")
    before = [gateway.http.get(f"{done.path}/{path}").headers["ETag"] for path in paths]
    monkeypatch.setattr("metseg_api.streams.renderer_revision", lambda: "another")
    for path, etag in zip(paths, before, strict=True):
        again = gateway.http.get(f"{done.path}/{path}", headers={"If-None-Match": etag})
        assert again.status_code == 200
        assert again.headers["ETag"] != etag
