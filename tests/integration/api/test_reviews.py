"""Reviews over REST: figures and every download follow, two readers do not overwrite each other, the way back."""

import csv
import gzip
import io
import json
import threading
import uuid
import zipfile
from typing import NamedTuple

import httpx
import nibabel
import numpy as np
import pytest
from PIL import Image, ImageSequence
from tests.gateways import begin, png, problem
from tests.reviews import SHAPE, THREE, answered, ball_probability, runs_of
from tests.slice_archives import archived
from tests.stored_results import split_into_objects

from metseg.contracts import Result, ResultSummary, ReviewHistory, ReviewRecord
from metseg.results import SLICE_ARCHIVE

CORE = ball_probability(THREE)
WHOLE = ball_probability([(centre, radius + 2) for centre, radius in THREE])


class Study(NamedTuple):
    """A finished job, whose core has three lesions."""

    http: httpx.Client
    path: str
    own: Result

    def get(self, name: str, **query: str) -> httpx.Response:
        return self.http.get(f"{self.path}/{name}", params=query)

    def put(self, etag: str = "*", **review: object) -> httpx.Response:
        return self.http.put(f"{self.path}/review", json=review, headers={"If-Match": etag})

    def reject(self, number: int, etag: str = "*") -> httpx.Response:
        """Reject one of the model's lesions."""
        return self.put(etag, lesions=[{"voxel": self.own.lesions[number - 1].peak, "decision": "reject"}])

    def delete(self, etag: str = "*") -> httpx.Response:
        return self.http.delete(f"{self.path}/review", headers={"If-Match": etag})

    def result(self, **query: str) -> Result:
        return Result.model_validate(self.get("result", **query).raise_for_status().json())


@pytest.fixture
def study(gateway) -> Study:
    job = gateway.accepted(*(png(index, *SHAPE[1:]) for index in range(SHAPE[0])))
    _, _, result, artefacts = answered(CORE, WHOLE)
    assert begin(gateway.runner, job.id) is not None
    artefacts |= {SLICE_ARCHIVE: archived(png(index, *SHAPE[1:]) for index in range(SHAPE[0]))}
    own = result.model_copy(update={"job_id": job.id})
    gateway.runner.finish(job.id, own, artefacts)
    return Study(gateway.http, f"/v1/jobs/{job.id}", own)


def voxels(response: httpx.Response) -> np.ndarray:
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(response.raise_for_status().content))
    return np.asarray(image.dataobj).T


def test_a_job_that_was_never_reviewed_has_an_empty_review(study):
    response = study.get("review")
    assert response.headers["ETag"] == '"0"'
    record = ReviewRecord.model_validate(response.json())
    assert (record.number, record.review, record.model_version) == (0, None, study.own.model_version)
    assert study.result() == study.own
    assert study.get("reviews").json() == {"reviews": []}


def test_a_list_says_what_is_in_force(study):
    def listed(**query):
        jobs = study.http.get("/v1/jobs", params={"limit": 1} | query).raise_for_status().json()["jobs"]
        return [ResultSummary.model_validate(job["summary"]) for job in jobs]

    assert listed() == [study.own.summary] and not study.own.summary.reviewed
    study.reject(1).raise_for_status()
    [summary] = listed()
    assert summary == study.result().summary and summary.reviewed and summary.lesions == 2
    assert listed(id=[study.own.job_id, f"{0:012x}0{0:019x}", "../x"]) == [summary]
    study.delete().raise_for_status()
    assert listed() == [study.own.summary]


def test_a_review_is_kept_with_its_time_and_agreement(study):
    response = study.put('"0"', thresholds={"core": 0.7}, may_be_used_for_training=True)
    assert response.status_code == 200, response.text
    assert response.headers["ETag"] == '"1"'
    stored = study.get("review")
    assert stored.headers["ETag"] == '"1"'
    assert stored.json() == response.json()
    record = ReviewRecord.model_validate(stored.json())
    assert record.review.may_be_used_for_training
    assert record.reviewed_by is None, "this gateway has no keys"
    assert record.agreement.dice["core"] < 1
    assert study.result().review.number == 1


def test_figures_and_every_download_follow_the_review(study):
    before = {name: study.get(name).raise_for_status() for name in ("report", "animation", "overlays")}
    study.reject(1).raise_for_status()
    mask = np.asarray(CORE >= 0.5)
    result = study.result()
    assert len(result.lesions) == 2
    assert [each.peak for each in result.rejected] == [study.own.lesions[0].peak]
    core = voxels(study.get("mask", structure="core"))
    assert not core[tuple(study.own.lesions[0].peak)]
    assert core[tuple(study.own.lesions[1].peak)]
    assert np.count_nonzero(core) == result.structures["core"].voxels < np.count_nonzero(mask)
    assert np.count_nonzero(voxels(study.get("mask"))) == result.structures["whole"].voxels
    np.testing.assert_array_equal(voxels(study.get("mask", structure="labels")) == 1, core > 0)
    assert voxels(study.get("mask", structure="lesions")).max() == 2
    np.testing.assert_array_equal(voxels(study.get("volume/mask")), core)
    with zipfile.ZipFile(io.BytesIO(study.get("mask", structure="core", format="zip").content)) as archive:
        pages = np.stack([np.asarray(Image.open(archive.open(name))) for name in archive.namelist()])
    np.testing.assert_array_equal(pages > 0, core > 0)
    tiff = Image.open(io.BytesIO(study.get("mask", structure="core", format="tiff").content))
    np.testing.assert_array_equal(np.stack([np.asarray(page) for page in ImageSequence.Iterator(tiff)]) > 0, core > 0)
    assert len(list(csv.DictReader(io.StringIO(study.get("lesions").text)))) == 2
    assert len(study.get("lesions", format="json").json()["lesions"]) == 2
    for name, response in before.items():
        after = study.get(name)
        assert after.headers["ETag"] != response.headers["ETag"], name
        assert after.content != response.content, name
    assert "Reviewed" in study.get("report").text
    assert "Reviewed" not in before["report"].text


def test_the_models_own_answer_stays_available(study):
    own = {name: study.get(name).raise_for_status().content for name in ("mask", "lesions", "report", "overlay/1")}
    tag = study.get("report").headers["ETag"]
    study.reject(1).raise_for_status()
    for name, content in own.items():
        assert study.get(name, reviewed="false").content == content, name
        assert study.get(name).content != content, name
    assert study.get("report", reviewed="false").headers["ETag"] == tag
    assert study.result(reviewed="false") == study.own


def test_what_no_review_changes_keeps_its_etag(study):
    names = ("volume/flair", "volume/probability", "slice/1", "probability")
    before = {name: study.get(name).headers["ETag"] for name in names}
    study.reject(1).raise_for_status()
    assert {name: study.get(name).headers["ETag"] for name in names} == before


def test_a_label_alone_changes_the_etag_of_what_shows_it(study):
    tags = [study.get(name).headers["ETag"] for name in ("lesions", "report")]
    study.put(lesions=[{"voxel": study.own.lesions[0].peak, "label": "left frontal"}]).raise_for_status()
    assert tags[0] != study.get("lesions").headers["ETag"]
    assert tags[1] != study.get("report").headers["ETag"]
    assert "left frontal" in study.get("lesions").text
    assert "left frontal" in study.get("report").text


def test_a_stroke_of_the_brush_ends_up_at_the_same_voxels(study):
    painted = np.zeros(SHAPE, bool)
    painted[3, 10:13, 8:15] = True
    study.put(corrections={"core": {"added": runs_of(painted)}}).raise_for_status()
    np.testing.assert_array_equal(voxels(study.get("mask", structure="core")) > 0, (CORE >= 0.5) | painted)


def test_a_review_needs_the_name_of_the_one_that_it_replaces(study):
    detail = problem(study.http.put(f"{study.path}/review", json={}), 428, "review-not-named")
    assert "If-Match" in detail
    problem(study.http.delete(f"{study.path}/review"), 428, "review-not-named")
    problem(study.put('"1"'), 412, "reviewed-meanwhile")
    problem(study.put('W/"0"'), 412, "reviewed-meanwhile")
    study.put('"0"').raise_for_status()
    problem(study.put('"0"'), 412, "reviewed-meanwhile")
    study.put('"7", "1"').raise_for_status()
    problem(study.delete('"1"'), 412, "reviewed-meanwhile")


def test_of_two_readers_at_once_one_is_refused(gateway, study):
    barrier, statuses = threading.Barrier(4), []

    def send(number: int) -> None:
        barrier.wait()
        with httpx.Client(base_url=gateway.url, timeout=60) as http:
            statuses.append(study._replace(http=http).reject(number, '"0"').status_code)

    threads = [threading.Thread(target=send, args=(1 + index % 3,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200, 412, 412, 412]
    folders = {key.split("/")[3] for key in gateway.job_keys() if f"{study.path[9:]}/reviewed/" in key}
    assert len(folders) == 1, "nothing is left of the refused reviews"


def test_results_and_reviews_that_earlier_releases_stored_are_read(gateway, study):
    study.reject(1).raise_for_status()
    names = ("result", "mask", "probability", "lesions", "overlay/3", "volume/flair")

    def seen() -> list[bytes]:
        modes = [(name, reviewed) for name in names for reviewed in ("true", "false")]
        return [study.get(name, reviewed=reviewed).raise_for_status().content for name, reviewed in modes]

    before = seen()
    split_into_objects(gateway.jobs, study.own.job_id)
    assert seen() == before
    study.reject(2).raise_for_status()
    assert len(study.result().lesions) == 2
    study.delete().raise_for_status()
    assert study.result() == study.own


def test_deleting_a_review_returns_to_the_models_own_answer(study):
    own = study.get("mask").content
    study.reject(1).raise_for_status()
    response = study.delete('"1"')
    assert (response.json()["number"], response.json()["review"]) == (2, None)
    assert study.result() == study.own
    assert study.get("mask").content == own
    assert study.get("review").headers["ETag"] == '"2"'
    history = ReviewHistory.model_validate(study.get("reviews").json()).reviews
    assert [each.number for each in history] == [2, 1]
    assert history[1].review.lesions[0].decision == "reject"
    assert study.get("review", number="1").json() == history[1].model_dump(mode="json")
    assert study.get("review", number="0").json()["review"] is None
    problem(study.get("review", number="9"), 404, "not-found")
    problem(study.get("review", number="-1"), 422, "invalid-parameter")


def test_the_agreement_of_the_newest_review_is_a_metric(gateway, study):
    def shown() -> list[str]:
        return [line for line in gateway.http.get("/metrics").text.splitlines() if line.startswith("metseg_agreement")]

    def reviews() -> float:
        return sum(float(line.split()[-1]) for line in shown() if line.startswith("metseg_agreement_reviews{"))

    before = reviews()
    study.put('"0"').raise_for_status()
    study.reject(1).raise_for_status()
    assert reviews() == before + 1
    assert any(f'model="{study.own.model_version}",week="20' in line for line in shown())
    study.delete().raise_for_status()
    assert reviews() == before


def test_a_review_is_deleted_with_its_job(gateway, study):
    study.reject(1).raise_for_status()
    assert study.http.delete(study.path).status_code == 204
    assert not [key for key in gateway.job_keys() if study.path.split("/")[-1] in key]
    problem(study.get("review"), 404, "not-found")
    problem(study.put(), 404, "not-found")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"threshold": 0.5}',
        b'{"thresholds": {"core": 2}}',
        b'{"corrections": {"core": {"added": [5]}}}',
        b'{"corrections": {"core": {"added": [99999999, 1]}}}',
        b'{"lesions": [{"voxel": [99, 0, 0]}]}',
    ],
)
def test_what_is_no_review_of_this_study_is_refused_and_changes_nothing(study, body):
    problem(study.http.put(f"{study.path}/review", content=body, headers={"If-Match": "*"}), 422, "invalid-parameter")
    assert study.get("reviews").json() == {"reviews": []}


def test_a_refusal_does_not_repeat_what_was_typed(study):
    label = "Mustermann\\Erika"
    body = json.dumps({"lesions": [{"voxel": [0, 0, 0], "label": label}]})
    response = study.http.put(f"{study.path}/review", content=body, headers={"If-Match": "*"})
    assert response.status_code == 422
    assert "Mustermann" not in response.text


def test_a_long_review_is_accepted_and_one_without_end_is_not(study):
    every_other = [number for start in range(0, int(np.prod(SHAPE)) - 1, 2) for number in (start, 1)]
    study.put(corrections={"whole": {"added": every_other}}).raise_for_status()
    body = b'{"corrections": {"core": {"added": [' + b"1," * 5 * 2**20 + b"1]}}}"
    response = study.http.put(f"{study.path}/review", content=body, headers={"If-Match": "*"})
    assert response.status_code == 413


def test_an_unfinished_job_cannot_be_reviewed(gateway):
    job = gateway.accepted()
    path = f"/v1/jobs/{job.id}"
    problem(gateway.http.get(f"{path}/review"), 409, "not-finished")
    problem(gateway.http.put(f"{path}/review", json={}, headers={"If-Match": "*"}), 409, "not-finished")
    problem(gateway.http.get(f"/v1/jobs/{uuid.uuid4().hex}/review"), 404, "not-found")


def test_too_large_a_study_is_refused_for_review(gateway, study, monkeypatch):
    monkeypatch.setattr("metseg_api.reviewing.MAX_REVIEW_VOXELS", 1000)
    problem(study.put(), 413, "study-too-large")
