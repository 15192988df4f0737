"""A fake gateway: the REST API with a phantom as its only study, for the page and its tests.

    with serving(FakeGateway(running_s=3)) as gateway:
        Client(gateway.url)

Whatever is submitted, the result is that of the phantom. Jobs progress with time, so that the page shows them queued
and running; the attributes of `FakeGateway` make it refuse, fail or be unavailable.
"""

import contextlib
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Annotated, get_args

import uvicorn
from fastapi import FastAPI, Query, Request, Response
from tests.fake_study import FakeStudy
from tests.models import tiny_card
from tests.servers import free_ports

from metseg.contracts import (
    Champion,
    FollowUp,
    FollowUpResult,
    FollowUpSubmission,
    IdentifiedSequence,
    Job,
    JobPage,
    JobStatus,
    KeyInfo,
    ListedJob,
    ModelCard,
    ModelPage,
    Overview,
    Problem,
    Progress,
    Resubmission,
    Result,
    Review,
    ReviewRecord,
    ReviewStamp,
    Role,
)
from metseg.errors import MetsegError, NotFinished, NotFound, ReviewedMeanwhile, Unauthorised
from metseg.formats import Upload, inspect_upload, write_display_volume, write_mask, write_probability
from metseg.imaging import rendering
from metseg.results.review import ReviewedAnswer
from metseg.settings import Limits

FOLLOW_UP_ID = f"{0:012x}8{0:019x}"


def card() -> ModelCard:
    """The card of an untrained Nested U-Net."""
    tiny = tiny_card(b"model")
    return tiny.model_copy(update={"network": "Nested U-Net", "figures": {"Nested U-Net": tiny.figures["tiny"]}})


@dataclass
class FakeGateway:
    """What the gateway answers; a test may change any of it while it is served."""

    study: FakeStudy = field(default_factory=FakeStudy)
    card: ModelCard = field(default_factory=card)
    others: list[ModelCard] = field(default_factory=list)
    dicom: bool = False
    keys: dict[str, KeyInfo] | None = None
    queued_s: float = 0.0
    running_s: float = 0.0
    refusal: MetsegError | None = None
    failure: MetsegError | None = None
    outage: MetsegError | None = None
    retry_after_s: int = 0
    champion: bool = True
    outcomes: dict[str, int] | None = None
    warnings: list[str] = field(default_factory=list)
    identified: dict[Role, IdentifiedSequence] = field(default_factory=dict)
    submissions: list[dict[str, object]] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    listed: list[bool] = field(default_factory=list)
    accepted_at: dict[str, datetime] = field(default_factory=dict)
    model_versions: dict[str, str] = field(default_factory=dict)
    reviews: dict[str, ReviewRecord] = field(default_factory=dict)
    answers: dict[str, ReviewedAnswer] = field(default_factory=dict)
    followed: list[str] = field(default_factory=list)
    followed_result: FollowUpResult | None = None
    url: str = ""

    def follow_up(self) -> FollowUp:
        """The follow-up that was submitted last; it has succeeded if there is a result for it."""
        status = JobStatus.RUNNING if self.followed_result is None else JobStatus.SUCCEEDED
        return FollowUp(
            id=FOLLOW_UP_ID,
            status=status,
            jobs=self.followed,
            created_at=datetime.now(UTC),
            result=self.followed_result,
        )

    def submit(self, names: list[str], threshold: str | None, **options: object) -> Job:
        if self.refusal is not None:
            raise self.refusal
        job_id = f"{len(self.submissions):04d}{secrets.token_hex(14)}"
        self.submissions.append({"id": job_id, "names": names, "threshold": threshold, **options})
        self.accepted_at[job_id] = datetime.now(UTC)
        return self.job(job_id)

    def job(self, job_id: str) -> Job:
        """The current state of a job."""
        created = self.created_at(job_id)
        started = created + timedelta(seconds=self.queued_s)
        finished = started + timedelta(seconds=self.running_s)
        entry = next(entry for entry in self.submissions if entry["id"] == job_id)
        given = {name: entry.get(name) for name in ("label", "patient", "taken_on")}
        job = Job(id=job_id, status=JobStatus.QUEUED, created_at=created, files=len(entry["names"]), **given)
        now = datetime.now(UTC)
        if now < started:
            return job.model_copy(update={"queue_position": 2})
        job = job.model_copy(update={"status": JobStatus.RUNNING, "started_at": started, "attempts": 1})
        if now < finished:
            total = len(self.study.mask)
            done = int(total * (now - started) / (finished - started))
            return job.model_copy(update={"progress": Progress(done=done, total=total)})
        if self.failure is not None:
            outcome = {"status": JobStatus.FAILED, "problem": Problem.of(self.failure)}
        else:
            outcome = {
                "status": JobStatus.SUCCEEDED,
                "model_version": self.model_versions.get(job_id, self.card.version),
            }
        return job.model_copy(update={"finished_at": finished, **outcome})

    def listed_job(self, job_id: str) -> ListedJob:
        """A job of the list; a job that succeeded has a summary."""
        job, answer, summary = self.job(job_id), self.answers.get(job_id), None
        if job.status is JobStatus.SUCCEEDED:
            summary = (answer.result if answer else self.study.result(job_id, self.card)).summary
        return ListedJob(**dict(job), summary=summary)

    def created_at(self, job_id: str) -> datetime:
        if job_id not in self.accepted_at:
            raise NotFound("There is no such job; it may have expired.")
        return self.accepted_at[job_id]

    def review(self, job_id: str) -> ReviewRecord:
        self.finished_study(job_id)
        return self.reviews.get(job_id) or ReviewRecord(number=0, model_version=self.card.version)

    def put_review(self, job_id: str, review: Review | None, if_match: str | None) -> ReviewRecord:
        """Replace the review of a job, as the gateway does."""
        current = self.review(job_id)
        if if_match != f'"{current.number}"':
            raise ReviewedMeanwhile("Another review is in force.")
        stamp = ReviewStamp(number=current.number + 1, reviewed_by="ward", reviewed_at=datetime.now(UTC))
        self.answers.pop(job_id, None)
        if review is not None:
            self.answers[job_id] = self.finished_study(job_id).reviewed(job_id, self.card, review, stamp)
        agreement = self.answers[job_id].agreement if review is not None else None
        self.reviews[job_id] = ReviewRecord(
            **stamp.model_dump(), review=review, model_version=self.card.version, agreement=agreement
        )
        return self.reviews[job_id]

    def finished_study(self, job_id: str) -> FakeStudy:
        if self.job(job_id).status is not JobStatus.SUCCEEDED:
            raise NotFinished("The job has no result yet.")
        return self.study if job_id not in self.model_versions else self.study.as_other_model_sees_it()

    def models(self) -> ModelPage:
        pointer = Champion(version=self.card.version, sha256=self.card.sha256, promoted_at=self.card.created_at)
        listed = sorted([self.card, *self.others], key=lambda one: one.created_at, reverse=True)
        return ModelPage(models=listed, champion=pointer if self.champion else None)

    def promote(self, version: str) -> Champion:
        chosen = next(one for one in self.others if one.version == version)
        self.others = [one for one in [self.card, *self.others] if one is not chosen]
        self.card = chosen
        return self.models().champion

    def key_info(self, authorization: str | None) -> KeyInfo:
        if self.keys is None:
            return KeyInfo(name=None, scopes=["submit", "read", "admin"])
        if authorization is None:
            raise Unauthorised("Send an API key, as `Authorization: Bearer KEY`.")
        if (key := authorization.removeprefix("Bearer ")) not in self.keys:
            raise Unauthorised("This API key is not known here.")
        return self.keys[key]


def app(gateway: FakeGateway) -> FastAPI:
    """The REST API."""
    api = FastAPI()

    @api.middleware("http")
    async def record_request(request: Request, call_next: object) -> Response:
        gateway.requests.append(f"{request.method} {request.url.path}")
        if gateway.outage is not None:
            return problem(request, gateway.outage)
        try:
            request.state.key_info = gateway.key_info(request.headers.get("Authorization"))
        except Unauthorised as refusal:
            return problem(request, refusal)
        return await call_next(request)

    @api.exception_handler(MetsegError)
    def problem(request: Request, error: MetsegError) -> Response:
        body = Problem.of(error, request.url.path).model_dump_json()
        headers = {"Retry-After": str(gateway.retry_after_s)}
        return Response(body, error.status, media_type="application/problem+json", headers=headers)

    @api.post("/v1/jobs", status_code=202)
    async def submit(request: Request) -> Job:
        async with request.form() as form:
            fields = [(name, file) for name, file in form.multi_items() if name in ("files", *get_args(Role))]
            uploads = [Upload(file.filename, file.file, None if name == "files" else name) for name, file in fields]
            inspect_upload(uploads, Limits())
            options = {
                name: form.get(name) for name in ("uncertainty", "align", "label", "sequence", "patient", "taken_on")
            }
            options["roles"] = [upload.role for upload in uploads]
            return gateway.submit([upload.name for upload in uploads], form.get("threshold"), **options)

    @api.get("/v1/jobs")
    def jobs(everyone: bool = False, id: Annotated[list[str] | None, Query()] = None) -> JobPage:
        gateway.listed.append(everyone)
        ids = reversed(gateway.accepted_at) if id is None else [each for each in id if each in gateway.accepted_at]
        return JobPage(jobs=list(map(gateway.listed_job, ids)))

    @api.get("/v1/jobs/{job_id}")
    def job(job_id: str, wait: float = 0) -> Job:
        deadline = time.monotonic() + wait
        while not gateway.job(job_id).status.final and time.monotonic() < deadline:
            time.sleep(0.05)
        return gateway.job(job_id)

    @api.get("/v1/jobs/{job_id}/result")
    def result(job_id: str, reviewed: bool = True) -> Result:
        study = gateway.finished_study(job_id)
        changes = {"warnings": gateway.warnings, "identified": gateway.identified}
        changes |= {"model_version": gateway.job(job_id).model_version, "dicom": gateway.dicom}
        answer = gateway.answers.get(job_id) if reviewed else None
        return (answer.result if answer else study.result(job_id, gateway.card)).model_copy(update=changes)

    @api.post("/v1/followups", status_code=202)
    def submit_follow_up(submission: FollowUpSubmission) -> FollowUp:
        gateway.followed = submission.jobs
        return gateway.follow_up()

    @api.get("/v1/followups/{follow_up_id}")
    def follow_up(follow_up_id: str) -> FollowUp:
        return gateway.follow_up()

    @api.get("/v1/jobs/{job_id}/review")
    def review(job_id: str) -> ReviewRecord:
        return gateway.review(job_id)

    @api.put("/v1/jobs/{job_id}/review")
    def put_review(request: Request, job_id: str, changes: Review) -> ReviewRecord:
        return gateway.put_review(job_id, changes, request.headers.get("If-Match"))

    @api.delete("/v1/jobs/{job_id}/review")
    def withdraw_review(request: Request, job_id: str) -> ReviewRecord:
        return gateway.put_review(job_id, None, request.headers.get("If-Match"))

    @api.get("/v1/jobs/{job_id}/mask")
    def mask(job_id: str, format: str = "nifti") -> Response:
        study = gateway.finished_study(job_id)
        answer = gateway.answers.get(job_id)
        found = answer.masks["core"] if answer else study.mask
        return Response(write_mask(found, study.names, format, spacing_mm=study.spacing_mm))

    @api.get("/v1/jobs/{job_id}/probability")
    def probability(job_id: str, format: str = "nifti") -> Response:
        study = gateway.finished_study(job_id)
        return Response(write_probability(study.probability, format, names=study.names, spacing_mm=study.spacing_mm))

    @api.get("/v1/jobs/{job_id}/slice/{index}")
    def pixels(job_id: str, index: int) -> Response:
        return Response(rendering.encode_png(gateway.finished_study(job_id).pixels[index]), media_type="image/png")

    @api.get("/v1/jobs/{job_id}/overlay/{index}")
    def overlay(job_id: str, index: int) -> Response:
        study = gateway.finished_study(job_id)
        return Response(rendering.encode_png(rendering.overlay(study.pixels[index], study.mask[index], contour=True)))

    @api.get("/v1/jobs/{job_id}/glimpse")
    def glimpse(job_id: str) -> Response:
        progress = gateway.job(job_id).progress
        if progress is None or not progress.done:
            raise NotFound("Only a running job has a preview.")
        return Response(gateway.study.preview(progress.done), media_type="image/png")

    @api.get("/v1/jobs/{job_id}/volume/{layer}")
    def volume(job_id: str, layer: str, reviewed: bool = True) -> Response:
        study, answer = gateway.finished_study(job_id), gateway.answers.get(job_id) if reviewed else None
        masks = answer.masks if answer else {"core": study.mask, "whole": study.whole}
        mask = write_mask(masks["core"], study.names, "nifti", spacing_mm=study.spacing_mm)
        if layer == "mask":
            return Response(study.placed(mask), media_type="application/gzip")
        if layer == "whole" and study.whole is not None:
            return Response(study.placed(write_mask(masks["whole"], study.names, "nifti", spacing_mm=study.spacing_mm)))
        if layer == "probability":
            return probability(job_id)
        pictures_ = map(rendering.encode_png, study.pixels)
        chunks = write_display_volume(BytesIO(mask), pictures_, ("pre", "flair", "post").index(layer))
        return Response(study.placed(b"".join(chunks)))

    @api.delete("/v1/jobs/{job_id}", status_code=204)
    def delete(job_id: str) -> None:
        gateway.created_at(job_id)
        del gateway.accepted_at[job_id]

    @api.post("/v1/jobs/{job_id}/repeat", status_code=202)
    def repeat(job_id: str, repetition: Resubmission) -> Job:
        gateway.created_at(job_id)
        again = gateway.submit(["again"], None)
        gateway.model_versions[again.id] = repetition.model
        gateway.submissions[-1] |= {"sequence": repetition.sequence, "exchanged": repetition.exchanged}
        return again

    @api.get("/v1/models")
    def models() -> ModelPage:
        return gateway.models()

    @api.put("/v1/models/champion")
    def promote(body: dict[str, str]) -> Champion:
        return gateway.promote(body["version"])

    @api.get("/v1/models/{version}/report")
    def report(version: str) -> Response:
        return Response(f"<h1>Report of {version}</h1><script>document.title = 'ran'</script>", media_type="text/html")

    @api.get("/v1/me")
    def me(request: Request) -> KeyInfo:
        return request.state.key_info

    @api.get("/v1/overview")
    def overview() -> Overview:
        outcomes = {"succeeded": len(gateway.accepted_at)} if gateway.outcomes is None else gateway.outcomes
        return Overview(waiting=2, oldest_s=7, working=1, workers=1, ended=outcomes, champion=gateway.models().champion)

    return api


@contextlib.contextmanager
def serving(gateway: FakeGateway, port: int | None = None) -> Iterator[FakeGateway]:
    """Serve on a loopback port from a thread, until the block ends."""
    with listening(app(gateway), port) as gateway.url:
        yield gateway


@contextlib.contextmanager
def listening(served: object, port: int | None = None) -> Iterator[str]:
    """The URL of an ASGI application on a loopback port, until the block ends."""
    port = port or free_ports(1)[0]
    server = uvicorn.Server(
        uvicorn.Config(served, host="127.0.0.1", port=port, log_config=None, access_log=False, ws="none")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started:
        if time.monotonic() > deadline:
            raise TimeoutError("the server did not start")
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(20)
