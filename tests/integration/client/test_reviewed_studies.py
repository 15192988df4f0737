"""Reviewed studies become a folder that the trainer reads; only those that may teach, and without names."""

import numpy as np
import pytest
from tests.gateways import begin, png, running_alone
from tests.reviews import SHAPE, THREE, answered, ball_probability
from tests.slice_archives import archived

from metseg.cli.main import main
from metseg.client import Client, collect_reviewed
from metseg.contracts import LesionDecision, Review
from metseg.formats import read_mask
from metseg.results import SLICE_ARCHIVE
from metseg_trainer.data.layouts import find_studies

CORE, WHOLE = (ball_probability([(centre, radius + more) for centre, radius in THREE]) for more in (0, 2))


@pytest.fixture
def gateway(redis, tmp_path):
    with running_alone(tmp_path / "store", redis.database(4)) as gateway:
        yield gateway


@pytest.fixture
def remote(gateway):
    with Client(gateway.url) as remote:
        yield remote


def finished(gateway, core=CORE, spacing_mm=(3.0, 1.0, 1.5), **fields):
    files = [("files", (f"slice_{index}.png", png(index, *SHAPE[1:]))) for index in range(SHAPE[0])]
    job_id = gateway.http.post("/v1/jobs", files=files, data=fields).raise_for_status().json()["id"]
    _, _, result, artefacts = answered(core, WHOLE, spacing_mm)
    assert begin(gateway.runner, job_id) is not None
    artefacts |= {SLICE_ARCHIVE: archived(png(index, *SHAPE[1:]) for index in range(SHAPE[0]))}
    gateway.runner.finish(job_id, result.model_copy(update={"job_id": job_id}), artefacts)
    return job_id


def reviewed(remote, job_id, may_teach=True, replaces=0):
    peak = remote.result(job_id).lesions[0].peak
    review = Review(lesions=[LesionDecision(voxel=peak, decision="reject")], may_be_used_for_training=may_teach)
    remote.put_review(job_id, review, replaces)


def test_the_trainer_reads_reviewed_studies_by_patient(gateway, remote, tmp_path):
    first, second = (finished(gateway, patient="ward-7") for _ in range(2))
    other, forbidden, own = (finished(gateway) for _ in range(3))
    for job_id in (first, second, other):
        reviewed(remote, job_id)
    reviewed(remote, forbidden, may_teach=False)
    collected = list(collect_reviewed(remote, tmp_path / "out"))
    assert {study.job_id for study in collected} == {first, second, other}, own
    found = find_studies(tmp_path / "out/core-and-whole")
    assert len(found.volumes) == 3
    assert len({study.person for study in found.volumes}) == 2, "both studies of a patient are one person's"
    names = " ".join(path.as_posix() for path in (tmp_path / "out").rglob("*"))
    assert "ward-7" not in names
    assert first not in names
    folder = next(study.folder for study in collected if study.job_id == first)
    assert {path.name for path in folder.iterdir()} == {
        f"{name}.nii.gz" for name in ("pre", "flair", "post", "core", "whole")
    }
    np.testing.assert_array_equal(
        read_mask((folder / "core.nii.gz").read_bytes()), read_mask(remote.mask(first, structure="core"))
    )


def test_a_study_without_a_known_core_is_apart(gateway, remote, tmp_path):
    reviewed(remote, finished(gateway, core=None))
    [study] = collect_reviewed(remote, tmp_path / "out")
    assert study.folder.is_relative_to(tmp_path / "out/whole-alone")
    [found] = find_studies(tmp_path / "out/whole-alone").volumes
    assert found.labels.core is None, "unknown, not absent"
    assert found.labels.whole


def test_a_later_review_replaces_the_folder_and_an_unchanged_one_is_not_read_again(gateway, remote, tmp_path):
    job_id = finished(gateway)
    reviewed(remote, job_id)
    [first] = collect_reviewed(remote, tmp_path / "out")
    written = (first.folder / "core.nii.gz").stat().st_mtime_ns
    assert list(collect_reviewed(remote, tmp_path / "out")) == [first]
    assert (first.folder / "core.nii.gz").stat().st_mtime_ns == written
    remote.put_review(job_id, Review(may_be_used_for_training=True), replaces=1)
    [second] = collect_reviewed(remote, tmp_path / "out")
    assert [path.name for path in first.folder.parent.iterdir()] == [second.folder.name]


def test_the_command_says_what_it_left_out(gateway, remote, tmp_path, capsys):
    kept, lacking = finished(gateway), finished(gateway, spacing_mm=None)
    for job_id in (kept, lacking):
        reviewed(remote, job_id)
    assert main(["review", "collect", str(tmp_path / "out"), "--server", gateway.url]) == 0
    lines = dict(line.split(": ") for line in capsys.readouterr().out.splitlines())
    assert lines[lacking] == "left out, its spacing is unknown"
    assert lines[kept].startswith(str(tmp_path / "out"))
