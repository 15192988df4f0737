"""Reviewed studies teach: from a review over REST to a copy in the store, a further training, and a verdict."""

import json

import numpy as np
import pytest
from tests.finished_jobs import job_that_found
from tests.gateways import begin, png, running_alone
from tests.integration.trainer.test_run import configured  # noqa: F401 (a fixture)
from tests.integration.trainer.test_structures import command, folders  # noqa: F401 (the latter is a fixture)

from metseg import phantom
from metseg.client import Client
from metseg.contracts import LesionDecision, Review
from metseg.errors import DatasetError
from metseg.jobs import TrainingStudies
from metseg.registry import Registry
from metseg.storage import ObjectPart
from metseg_trainer.cli import main
from metseg_trainer.data import fetch_reviewed, load_patient, read_split, scan_folder

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")
ALLOWED, FORBIDDEN = (Review(may_be_used_for_training=each) for each in (True, False))


@pytest.fixture
def gateway(redis, tmp_path):
    with running_alone(tmp_path / "store", redis.database(5)) as gateway:
        yield gateway


@pytest.fixture
def remote(gateway):
    with Client(gateway.url) as remote:
        yield remote


@pytest.fixture
def finished(gateway):
    """Submits a study of a phantom and finishes it as a worker does; the job's id and the phantom's answer."""

    def finish(seed=0, patient=None, size_px=64):
        head = phantom.head(seed, slices=8, size_px=size_px, lesions=2)
        answer = job_that_found(head.volume, head.mask)
        fields = {} if patient is None else {"patient": patient}
        job_id = gateway.submit(png(), **fields).raise_for_status().json()["id"]
        assert begin(gateway.runner, job_id) is not None
        gateway.runner.finish(job_id, answer.figures.model_copy(update={"job_id": job_id}), answer.artefacts)
        return job_id, answer

    return finish


def keys(gateway) -> str:
    return " ".join(info.key for info in gateway.store.list("training/"))


def test_a_reviewed_study_reaches_the_trainer_without_a_name(gateway, remote, finished, tmp_path):
    job_id, answer = finished(patient="ward-7")
    rejected = LesionDecision(voxel=answer.figures.lesions[0].peak, decision="reject")
    remote.put_review(job_id, Review(lesions=[rejected], may_be_used_for_training=True), 0)
    other, _ = finished(1, patient="ward-7")
    remote.put_review(other, ALLOWED, 0)
    studies = list(TrainingStudies(gateway.store).studies())
    assert len({study.case for study in studies}) == 2 and len({study.person for study in studies}) == 1
    content = keys(gateway) + " ".join(study.model_dump_json() for study in studies)
    assert "ward-7" not in content and job_id not in content
    fetch_reviewed(gateway.store, tmp_path / "reviewed")
    patients, _ = scan_folder(tmp_path / "reviewed")
    assert len({patient.person for patient in patients}) == 1 and len(patients) == 2
    of_core, _ = scan_folder(tmp_path / "reviewed", "core")
    assert [patient.lesion_pixels for patient in of_core] == [patient.lesion_pixels for patient in patients]
    volumes = {int(truth.sum()): (volume, truth) for volume, truth in map(load_patient, patients)}
    smaller, truth = volumes[min(volumes)]
    assert not truth[answer.figures.lesions[0].peak] and truth[answer.figures.lesions[1].peak]
    for channel in range(3):
        found, drawn = (each.pixels[..., channel].ravel() for each in (smaller, answer.volume))
        assert np.corrcoef(found, drawn)[0, 1] > 0.99, "the same slices, as they are shown"


@pytest.mark.parametrize("end", ["forbid", "withdraw", "delete", "delete expired"])
def test_a_permission_can_be_withdrawn(gateway, remote, finished, end):
    job_id, _ = finished()
    remote.put_review(job_id, ALLOWED, 0)
    assert "study.json" in keys(gateway)
    if end == "forbid":
        remote.put_review(job_id, FORBIDDEN, 1)
    elif end == "withdraw":
        remote.withdraw_review(job_id, 1)
    else:
        if end == "delete expired":
            gateway.store.delete(f"jobs/{job_id}")
            assert "study.json" in keys(gateway), "a copy outlasts its job"
        gateway.http.delete(f"/v1/jobs/{job_id}")
    assert keys(gateway) == ""


def test_a_later_review_replaces_the_copy_and_a_refused_one_leaves_none(gateway, remote, finished):
    job_id, _ = finished()
    remote.put_review(job_id, ALLOWED, 0)
    remote.put_review(job_id, ALLOWED, 1)
    assert gateway.http.put(f"/v1/jobs/{job_id}/review", json={}, headers={"If-Match": '"1"'}).status_code == 412
    [study] = TrainingStudies(gateway.store).studies()
    assert study.review == 2 and "/000001/" not in keys(gateway)


def test_what_no_reader_allowed_is_not_there(gateway, remote, finished, tmp_path):
    finished()
    job_id, _ = finished(1)
    remote.put_review(job_id, FORBIDDEN, 0)
    assert keys(gateway) == "" and not list(gateway.store.list("site/"))
    with pytest.raises(DatasetError, match="no reviewed study"):
        fetch_reviewed(gateway.store, tmp_path / "reviewed")


def test_studies_that_were_only_deposited_are_no_studies(store):
    training = TrainingStudies(store)
    store.put("jobs/slices.zip", b"slices")
    training.deposit("job", 1, ObjectPart("jobs/slices.zip"), {"whole": b"mask"})
    assert list(training.studies()) == []
    training.discard("job", 1)
    assert list(store.list("training/")) == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_champion_is_trained_further_on_reviewed_studies(gateway, remote, finished, configured, capsys):  # noqa: F811
    run = ["run", "--preset", "smoke", "--epochs", "1", "--networks", "attention-unet", "--name"]
    assert main([*run, "first", "--promote", "always"]) == 0
    for seed in range(4):
        remote.put_review(finished(seed, patient=f"ward-{seed}")[0], ALLOWED, 0)
    first, runs = Registry(gateway.store).champion().version, configured / "runs"
    assert main([*run, "second", "--data", "reviewed", "--start", str(runs / "first")]) == 1
    assert "--preset smoke draws" in capsys.readouterr().err
    heads = str(runs / "phantoms")
    run = ["run", "--preset", "quick", "--epochs", "1", "--base-width", "4", "--networks", "attention-unet", "--name"]
    assert main([*run, "second", "--data", heads, "reviewed", "--start", str(runs / "first")]) == 0
    before, after = (read_split(runs / name / "split.json") for name in ("first", "second"))
    assert {*before.train} < {*after.train} and {*before.test} < {*after.test}, "the reviewed are added to the others"
    verdict = json.loads((runs / "second" / "results.json").read_text())["verdict"]
    assert "on the reviewed ones (n = " in verdict and first in verdict
    card = json.loads((runs / "second" / "card.json").read_text())
    assert "and 4 reviewed studies of a deployment" in card["data"]["name"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_core_is_learned_further_from_the_champion_on_reviewed_studies(
    gateway,
    remote,
    finished,
    configured,  # noqa: F811
    folders,  # noqa: F811
    capsys,
):
    assert command(folders, configured / "first", "--promote", "always") == 0
    first = Registry(gateway.store).champion().version
    for seed in range(4):
        remote.put_review(finished(seed, patient=f"ward-{seed}", size_px=160)[0], ALLOWED, 0)
    capsys.readouterr()
    options = ["--studies", "reviewed", "--whole", "champion", "--start", "champion"]
    assert command(folders, configured / "second", *options) == 0, capsys.readouterr().err
    verdict = capsys.readouterr().out
    for structure in ("core", "whole"):
        assert f"for the {structure} on all test studies" in verdict
        assert f"for the {structure} on the reviewed ones (n = " in verdict
    assert f"champion {first}, which may have seen" not in verdict
    new = Registry(gateway.store).versions()[0]
    assert new.version != first
    assert "ward" not in new.model_dump_json() and "studies with a known core" in new.data.name
    assert (Registry(gateway.store).champion().version == new.version) is ("It was promoted" in verdict)
