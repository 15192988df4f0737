"""Reviewed studies as a training folder: images, masks and a `labels.yaml`, as docs/data.md describes them.

Only jobs are taken whose review says that they may be used for training. Names are hashes: of the job, and of the
patient's pseudonym, so that all studies of a patient stay on one side of a split.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple, get_args

from metseg.client.http_client import Client
from metseg.client.job_pages import all_jobs
from metseg.client.result_reader import VolumeLayer
from metseg.contracts import Job, JobStatus, Result, ReviewRecord, Role

__all__ = ["CollectedStudy", "collect_reviewed"]

ROLES: tuple[Role, ...] = get_args(Role)
FOLDERS = {"core": "core-and-whole", "whole": "whole-alone"}
"""By the lesions' structure: in a folder with a `core` mask, a study without one would count as free of tumour."""


class CollectedStudy(NamedTuple):
    """A reviewed study on disk.

    Attributes:
        job_id: of the job.
        folder: of its files; None if it was left out.
        reason: why it was left out.
    """

    job_id: str
    folder: Path | None
    reason: str = ""


def collect_reviewed(client: Client, target: Path) -> Iterator[CollectedStudy]:
    """Download all reviewed studies that may be used for training; those on disk in the same state stay.

    Args:
        client: whose key sees the jobs.
        target: gets a folder for studies with a known core, and one for those without.

    Yields:
        Each such study, newest first.

    Raises:
        RemoteProblem: the gateway refuses a call.
    """
    for job in all_jobs(client.visible_jobs):
        record = client.review(job.id) if job.status is JobStatus.SUCCEEDED else None
        if record is not None and record.review is not None and record.review.may_be_used_for_training:
            yield _collect(client, job, record, target)


def _collect(client: Client, job: Job, record: ReviewRecord, target: Path) -> CollectedStudy:
    result = client.result(job.id)
    if result.spacing_mm is None:
        return CollectedStudy(job.id, None, "its spacing is unknown")
    root = target / FOLDERS[result.structure]
    person, case = _pseudonym(job.patient or job.id), _pseudonym(job.id)
    folder = root / person / f"{case}-{record.number}"
    if not folder.is_dir():
        root.mkdir(parents=True, exist_ok=True)
        (root / "labels.yaml").write_text(_labels(result), encoding="utf-8")
        with TemporaryDirectory(dir=target) as draft:
            _download(client, job.id, result, Path(draft))
            if client.review(job.id).number != record.number:
                return CollectedStudy(job.id, None, "it was reviewed at the same time; collect again")
            folder.parent.mkdir(exist_ok=True)
            for old in folder.parent.glob(f"{case}-*"):
                _remove(old)
            Path(draft).rename(folder)
            Path(draft).mkdir()  # which the block removes
    return CollectedStudy(job.id, folder)


def _download(client: Client, job_id: str, result: Result, folder: Path) -> None:
    layers: dict[str, VolumeLayer] = {result.structure: "mask"}
    for role in _roles(result):
        layers[role] = role
    if result.structure == "core":
        layers["whole"] = "whole"
    for name, layer in layers.items():
        (folder / f"{name}.nii.gz").write_bytes(client.volume(job_id, layer))


def _roles(result: Result) -> list[Role]:
    """The sequences of the upload; a colour image, of which nothing had to be identified, has all three."""
    return [role for role in ROLES if role in result.identified or not result.identified]


def _labels(result: Result) -> str:
    """The meaning of the files."""
    names = (*ROLES, *(("core", "whole") if result.structure == "core" else ("whole",)))
    return "files:\n" + "".join(f'  {name}: "{{person}}/{{case}}/{name}.nii.gz"\n' for name in names)


def _remove(folder: Path) -> None:
    """An earlier state of a study."""
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def _pseudonym(text: str) -> str:
    return hashlib.sha256(f"metseg reviewed {text}".encode()).hexdigest()[:12]
