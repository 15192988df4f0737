"""Backup and restore of the store by the commands in docs/reliability.md, as a new operator would run them."""

import io
import logging
import re
import time
from pathlib import Path

import pytest
from PIL import Image
from tests.e2e.deployment import ROOT, Deployment

from metseg import phantom
from metseg.client import Client, RemoteProblem
from metseg.contracts import Job, JobStatus, ModelPage

pytestmark = pytest.mark.drill
log = logging.getLogger(__name__)
READY_S = 120.0


@pytest.fixture(scope="module")
def commands() -> list[str]:
    """The blocks of commands: backup and restore."""
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    section = page.split("## Backup and restore", 1)[1]
    blocks = re.findall(r"```bash\n(.*?)```", section, re.DOTALL)
    assert len(blocks) == 2, "the page has one block for the backup, and one for the restore"
    return blocks


def submitted(client: Client, seed: int, key: str) -> Job:
    files = []
    for index, pixels in enumerate(phantom.head(seed, slices=6, lesions=3).volume.pixels):
        stored = io.BytesIO()
        Image.fromarray(pixels).save(stored, "PNG")
        files.append((f"s_{index}.png", stored.getvalue()))
    return client.submit(files, idempotency_key=key)


def ended(client: Client, job: Job) -> Job:
    deadline = time.monotonic() + READY_S
    while not (now := client.job(job.id, wait_s=10)).status.final:
        assert time.monotonic() < deadline
    return now


def models_once_ready(client: Client) -> ModelPage:
    deadline = time.monotonic() + READY_S
    while True:
        try:
            return client.models()
        except RemoteProblem:
            assert time.monotonic() < deadline, "the gateway did not come back"


def test_a_backup_restores_everything_after_every_volume_was_lost(
    deployment: Deployment, client: Client, commands: list[str], tmp_path: Path
) -> None:
    done = [ended(client, submitted(client, seed, f"restored-{seed}")) for seed in (3, 7)]
    results = [client.result(job.id) for job in done]
    masks = [client.mask(job.id) for job in done]
    models = client.models()
    waiting = [
        submitted(client, seed, f"restored-{seed}") for seed in (11, 13)
    ]  # accepted, but not started or not ended

    there, back = commands
    began = time.monotonic()
    deployment.follow(there, tmp_path)
    log.info("backed up in %.0f s, %.1f MB", time.monotonic() - began, (tmp_path / "store.tgz").stat().st_size / 1e6)
    began = time.monotonic()
    deployment.follow(back, tmp_path)
    assert models_once_ready(client) == models
    log.info("restored and ready in %.0f s", time.monotonic() - began)

    assert all(job.status is JobStatus.SUCCEEDED for job in done)
    assert [client.result(job.id) for job in done] == results
    assert [client.mask(job.id) for job in done] == masks
    assert [ended(client, job).status for job in waiting] == [JobStatus.SUCCEEDED] * len(waiting)
    assert submitted(client, 3, "restored-3").id == done[0].id, "the idempotency key holds"
    assert ended(client, submitted(client, 17, "restored-17")).status is JobStatus.SUCCEEDED
