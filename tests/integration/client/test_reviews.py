"""The client and the command line review a job, and refuse to overwrite another reader's review."""

import json

import pytest
from tests.gateways import begin, png, promote_tiny, running
from tests.reviews import SHAPE, THREE, answered, ball_probability
from tests.slice_archives import archived

from metseg.cli.main import main
from metseg.client import Client, RemoteProblem
from metseg.contracts import LesionDecision, Review
from metseg.results import SLICE_ARCHIVE
from metseg.results.exports import EXPORTS
from metseg.settings import Settings


@pytest.fixture(scope="module")
def gateway(redis, tmp_path_factory):
    with running(Settings(store_directory=tmp_path_factory.mktemp("store"), **redis.settings())) as gateway:
        promote_tiny(gateway.store)
        yield gateway


@pytest.fixture
def job(gateway) -> str:
    """A finished job with three lesions."""
    job = gateway.accepted(*(png(index, *SHAPE[1:]) for index in range(SHAPE[0])))
    _, _, result, artefacts = answered(ball_probability(THREE), ball_probability(THREE))
    assert begin(gateway.runner, job.id) is not None
    artefacts |= {SLICE_ARCHIVE: archived(png(index, *SHAPE[1:]) for index in range(SHAPE[0]))}
    gateway.runner.finish(job.id, result.model_copy(update={"job_id": job.id}), artefacts)
    return job.id


@pytest.fixture
def remote(gateway):
    with Client(gateway.url) as remote:
        yield remote


@pytest.fixture
def output(gateway, capsys):
    """The output of a command, which must end with `status`."""

    def output(*words, status=0):
        assert main([*words, "--server", gateway.url]) == status
        said = capsys.readouterr()
        return said.err if status else said.out

    return output


def test_a_client_reviews_and_returns(remote, job):
    own, mask = remote.result(job), remote.mask(job)
    assert remote.review(job).number == 0
    review = Review(lesions=[LesionDecision(voxel=own.lesions[0].peak, decision="reject")])
    record = remote.put_review(job, review, replaces=0)
    assert remote.review(job) == remote.review(job, 1) == record
    assert len(remote.result(job).lesions) == 2
    assert remote.result(job, reviewed=False) == own
    assert remote.mask(job) != mask
    assert remote.export(job, EXPORTS["nifti"], reviewed=False) == mask
    remote.withdraw_review(job, replaces=1)
    assert remote.mask(job) == mask
    assert [each.number for each in remote.reviews(job).reviews] == [2, 1]


def test_a_client_does_not_overwrite_what_it_has_not_read(remote, job):
    remote.put_review(job, Review(), replaces=0)
    for call in (lambda: remote.put_review(job, Review(), replaces=0), lambda: remote.withdraw_review(job, replaces=0)):
        with pytest.raises(RemoteProblem) as caught:
            call()
        assert (caught.value.status, caught.value.type) == (412, "/problems/reviewed-meanwhile")
    assert len(remote.reviews(job).reviews) == 1


def test_the_command_rejects_lesions_one_after_the_other(output, remote, job):
    output("review", "reject", job, "1")
    head, row = output("review", "reject", job, "2").splitlines()
    assert head.split() == ["REVIEW", "BY", "TIME", "REJECTED", "ADDED", "DICE"]
    assert row.startswith("2 ")
    assert len(remote.result(job).lesions) == 1
    assert "has no lesion 4" in output("review", "reject", job, "4", status=2)
    assert "the model's own answer" in output("review", "withdraw", job)
    assert [line.split()[0] for line in output("review", "history", job).splitlines()[1:]] == ["3", "2", "1"]
    assert len(remote.result(job).lesions) == 3


def test_a_review_is_shown_changed_in_a_file_and_applied(output, remote, job, tmp_path):
    output("review", "reject", job, "3")
    shown = json.loads(output("review", "show", job, "--json"))["review"]
    file = tmp_path / "review.json"
    file.write_text(json.dumps(shown | {"thresholds": {"core": 0.7}}))
    output("review", "apply", job, str(file))
    assert remote.result(job).threshold == 0.7
    assert len(remote.result(job).rejected) == 1
    file.write_text('{"threshold": 0.7}')
    assert "threshold: Extra inputs are not permitted" in output("review", "apply", job, str(file), status=2)
    assert "cannot be read" in output("review", "apply", job, str(tmp_path / "none.json"), status=2)
