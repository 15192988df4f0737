"""`make gpu-images`: the images for NVIDIA GPUs are built, and work on the CPU where there is none."""

import io
import logging
import subprocess
import time
from collections.abc import Iterator

import pytest
from PIL import Image
from tests.e2e.deployment import Deployment

from metseg import phantom
from metseg.client import Client
from metseg.contracts import JobStatus

pytestmark = pytest.mark.gpu_images
log = logging.getLogger(__name__)
LOAD_CUDA = """
import ctypes, onnxruntime
from pathlib import Path
onnxruntime.preload_dlls()
try:
    ctypes.CDLL(str(Path(onnxruntime.__file__).parent / "capi" / "libonnxruntime_providers_cuda.so"))
except OSError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def gpu_deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Built with the libraries for CUDA: a WHEELS_DIR of this machine would let pip prefer a CPU wheel of torch."""
    overlays = ("docker-compose.gpu.yml", "tests/e2e/no-gpu.compose.yml")
    here = Deployment(tmp_path_factory.mktemp("no-data"), *overlays, variables={"WHEELS_DIR": "infra/wheels"})
    try:
        for service in ("worker", "trainer"):
            began = time.monotonic()
            here.compose("--profile", "train", "build", service, timeout_s=1700)
            log.info("%s: built in %.0f s, %.2f GB", service, time.monotonic() - began, size_gb(here, service))
        here.compose("build", "--with-dependencies", "api", timeout_s=600)
        here.compose("up", "--detach", "--no-build", "--wait", "--wait-timeout", "180", "api", "worker", timeout_s=240)
        yield here
    finally:
        here.down()


def size_gb(here: Deployment, service: str) -> float:
    command = ["docker", "image", "inspect", "--format", "{{.Size}}", f"{here.name}-{service}"]
    return int(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout) / 1e9


def test_the_worker_says_that_it_has_no_gpu_and_segments_on_the_cpu(gpu_deployment: Deployment) -> None:
    stored = io.BytesIO()
    Image.fromarray(phantom.head(7, slices=4, lesions=3).volume.pixels[2]).save(stored, "PNG")
    with Client(gpu_deployment.api_url) as client:
        job = client.wait(client.submit([("slice.png", stored.getvalue())]).id)
        assert job.status is JobStatus.SUCCEEDED, job.problem
        assert client.result(job.id).model_version == client.models().champion.version
    assert "no usable GPU" in gpu_deployment.compose("logs", "--no-color", "worker")
    missing = gpu_deployment.compose("exec", "-T", "worker", "python", "-c", LOAD_CUDA)
    assert "libcuda.so.1" in missing, "all but the driver, which is the machine's, is in the image"


def test_the_trainer_has_torch_for_cuda_and_trains_on_the_cpu(gpu_deployment: Deployment) -> None:
    run = ("--profile", "train", "run", "--rm", "-T", "--no-deps")
    version = gpu_deployment.compose(
        *run, "--entrypoint", "python", "trainer", "-c", "import torch; print(torch.version.cuda)"
    )
    assert version.strip() not in ("", "None"), "torch is the CPU wheel"
    trained = gpu_deployment.compose(*run, "trainer", "run", "--preset", "smoke", "--promote", "never", timeout_s=900)
    assert "mean patient Dice" in trained
