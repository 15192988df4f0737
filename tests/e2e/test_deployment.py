"""The deployment as a program sees it: REST, then the trainer with it."""

import gzip
import io
import logging
import time
import zipfile
from collections.abc import Callable

import httpx
import nibabel
import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from PIL import Image
from tests.e2e.deployment import ROOT, Deployment

from metseg import formats, phantom
from metseg.client import Client, RemoteProblem
from metseg.contracts import Job, JobStatus, ModelCard
from metseg.inference import OnnxPredictor, segmentation
from metseg.settings import Limits

log = logging.getLogger(__name__)
Bools = npt.NDArray[np.bool_]


def png(pixels: npt.NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def archive(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def study() -> phantom.Phantom:
    return phantom.head(7, slices=30, lesions=4)


@pytest.fixture(scope="session")
def slices(study: phantom.Phantom) -> dict[str, bytes]:
    return {f"head_{number}.png": png(pixels) for number, pixels in enumerate(study.volume.pixels, start=1)}


@pytest.fixture(scope="session")
def whole(slices: dict[str, bytes]) -> list[tuple[str, bytes]]:
    return [("head.zip", archive(slices))]


@pytest.fixture(scope="session")
def single(study: phantom.Phantom) -> list[tuple[str, bytes]]:
    largest = int(study.mask.sum(axis=(1, 2)).argmax())
    return [("slice.png", png(study.volume.pixels[largest]))]


def finished(client: Client, files: list[tuple[str, bytes]], threshold: float | None = None) -> Job:
    job = client.submit(files, threshold=threshold)
    return client.job(job.id, wait_s=60)


def seconds(call: Callable[[], Job]) -> float:
    began = time.monotonic()
    job = call()
    assert job.status is JobStatus.SUCCEEDED, job.problem
    return time.monotonic() - began


def mask_of(client: Client, job: Job) -> Bools:
    """The mask of the lesions over REST, (slice, row, column)."""
    structure = client.result(job.id).structure
    with zipfile.ZipFile(io.BytesIO(client.mask(job.id, "zip", structure=structure))) as packed:
        images = {name: np.asarray(Image.open(io.BytesIO(packed.read(name)))) for name in packed.namelist()}
    assert all(set(np.unique(image)) <= {0, 255} for image in images.values())
    if len(images) == 1:
        return np.stack(list(images.values())) > 0
    return np.stack([images[f"head_{number}_mask.png"] for number in range(1, len(images) + 1)]) > 0


def test_it_is_ready_within_a_minute_and_segments_at_once(deployment: Deployment, client: Client) -> None:
    log.info("ready: %.1f s", deployment.ready_s)
    assert deployment.ready_s < 60
    assert httpx.get(f"{deployment.api_url}/readyz").status_code == 200
    champion = client.models().champion
    assert champion is not None, "the starter model serves from the first start"
    assert champion.version == starter().version


def test_a_single_slice_is_answered_within_two_seconds(client: Client, single: list[tuple[str, bytes]]) -> None:
    finished(client, single)
    best = min(seconds(lambda: finished(client, single)) for _ in range(3))
    log.info("a single slice: %.2f s", best)
    assert best < 2


def test_a_whole_patient_is_answered_within_fifteen_seconds(client: Client, whole: list[tuple[str, bytes]]) -> None:
    took = seconds(lambda: finished(client, whole))
    log.info("30 slices: %.2f s", took)
    assert took < 15


def test_the_mask_is_to_the_pixel_what_the_pipeline_computes(client: Client, whole: list[tuple[str, bytes]]) -> None:
    card = starter()
    predictor = OnnxPredictor(card, (ROOT / "infra/starter-model/model.onnx").read_bytes(), threads=2)
    upload = formats.Upload(whole[0][0], io.BytesIO(whole[0][1]), None)
    expected = segmentation.segment(formats.read_volume([upload], Limits()), predictor)
    job = finished(client, whole)
    assert job.model_version == card.version
    np.testing.assert_array_equal(mask_of(client, job), expected.mask)
    assert client.result(job.id).lesions == expected.lesions


def test_every_artefact_agrees_with_the_result(client: Client, whole: list[tuple[str, bytes]]) -> None:
    job = finished(client, whole, threshold=0.3)
    result, mask = client.result(job.id), mask_of(client, job)
    assert result.shape == mask.shape == (30, 256, 256)
    assert result.threshold == 0.3
    assert sum(lesion.voxels for lesion in result.lesions) <= mask.sum()
    assert [figures.area_px for figures in result.slices] == mask.sum(axis=(1, 2)).tolist()
    packed = client.mask(job.id, "nifti", structure=result.structure)
    nifti = np.asarray(nibabel.Nifti1Image.from_bytes(unpacked(packed)).dataobj)
    assert int(nifti.astype(bool).sum()) == int(mask.sum())
    probability = nibabel.Nifti1Image.from_bytes(unpacked(client.probability(job.id))).get_fdata()
    assert 0 <= probability.min() <= probability.max() <= 1
    pages = tifffile.imread(io.BytesIO(client.mask(job.id, "tiff", structure=result.structure)))
    np.testing.assert_array_equal(pages > 0, mask)
    overlay = Image.open(io.BytesIO(client.overlay(job.id, 15)))
    assert overlay.size == (256, 256)


def unpacked(content: bytes) -> bytes:
    return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content


def not_finite() -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.full((64, 64), np.nan, np.float32))
    return buffer.getvalue()


PROBLEMS = (
    "empty-upload", "unsupported-format", "unreadable-image", "unusable-image", "bad-archive", "archive-bomb",
    "mixed-sizes",
)  # fmt: skip


@pytest.fixture(scope="session")
def bad() -> dict[str, list[tuple[str, bytes]]]:
    """Uploads by the problem that they cause."""
    uploads = (
        [("slice.png", b"")],
        [("slice.png", b"this is a letter, not a picture\n" * 40)],
        [("slice.png", png(np.random.default_rng(1).integers(0, 255, (64, 64), np.uint8))[:2000])],
        [("slice.png", png(np.full((64, 64), 9, np.uint8)))],
        [("slices.zip", archive({"../../slice.png": b"x"}))],
        [("slices.zip", archive({"slice.png": bytes(257 * 2**20)}))],
        [(f"a_{rows}.png", png(np.arange(64 * rows, dtype=np.uint8).reshape(rows, 64))) for rows in (64, 32)],
    )
    return dict(zip(PROBLEMS, uploads, strict=True))


@pytest.mark.parametrize("problem", PROBLEMS)
def test_each_kind_of_bad_input_has_its_own_problem(
    client: Client, bad: dict[str, list[tuple[str, bytes]]], problem: str
) -> None:
    assert refusal(client, bad[problem]) == f"/problems/{problem}"


def test_values_that_are_not_finite_are_refused(client: Client) -> None:
    assert refusal(client, [("slice.tif", not_finite())]) in {
        "/problems/unusable-image",
        "/problems/unsupported-format",
    }


def refusal(client: Client, files: list[tuple[str, bytes]]) -> str:
    """The type of an upload's problem, from the gateway or later from the worker."""
    try:
        job = finished(client, files)
    except RemoteProblem as refused:
        return refused.type
    assert job.status is JobStatus.FAILED
    assert job.problem is not None
    return job.problem.type


def test_the_worker_survives_all_bad_input(
    deployment: Deployment,
    client: Client,
    single: list[tuple[str, bytes]],
    bad: dict[str, list[tuple[str, bytes]]],
) -> None:
    before = deployment.restarts("worker")
    for files in bad.values():
        refusal(client, files)
    assert seconds(lambda: finished(client, single)) < 10
    assert deployment.restarts("worker") == before


def test_a_site_trains_the_starter_further_on_its_own_studies(deployment: Deployment, client: Client) -> None:
    """The command of the README; the registry of a new deployment has the weights to start from."""
    before = {card.version for card in client.models().models}
    trainer = ["run", "--rm", "-T", "trainer"]
    deployment.compose(*trainer, "phantom", "/runs/mets", "--patients", "3", "--layout", "brats", timeout_s=300)
    options = ["--whole", "champion", "--start", "champion", "--samples", "8", "--promote", "never"]
    out = deployment.compose(
        *trainer, "structures", "--studies", "/runs/mets", *options, "--out", "/runs/ours", timeout_s=900
    )
    assert "test studies, core" in out and "Promotion was set to `never`" in out
    [new] = {card.version for card in client.models().models} - before
    assert "studies with a known core" in client.model(new).data.name


def test_the_trainer_promotes_a_new_model_without_a_restart(
    deployment: Deployment, client: Client, whole: list[tuple[str, bytes]]
) -> None:
    before = client.models()
    worker = deployment.restarts("worker")
    deployment.compose("run", "--rm", "-T", "trainer", "run", "--preset", "smoke", "--promote", "always", timeout_s=900)
    after = client.models()
    assert len(after.models) == len(before.models) + 1
    assert after.champion is not None
    assert after.champion.version not in {card.version for card in before.models}
    card = client.model(after.champion.version)
    assert len(card.figures) == 2, "both networks were compared on the same patients"
    job = finished(client, whole)
    assert job.status is JobStatus.SUCCEEDED, job.problem
    assert job.model_version == after.champion.version
    assert deployment.restarts("worker") == worker


def test_a_deleted_job_is_gone(client: Client, single: list[tuple[str, bytes]]) -> None:
    job = finished(client, single)
    client.delete(job.id)
    with pytest.raises(RemoteProblem) as gone:
        client.result(job.id)
    assert gone.value.status == 404


def starter() -> ModelCard:
    """The card of the starter model."""
    return ModelCard.model_validate_json((ROOT / "infra/starter-model/card.json").read_bytes())
