"""The error tree: errors that a caller can act on, over HTTP, on the command line and across Celery.

MetsegError
├── BadInput                 the upload or a field must change
│   ├── EmptyUpload            no file, or an empty file
│   ├── UnsupportedFormat      the content has no supported format
│   ├── UnreadableImage        a supported format, but damaged
│   ├── UnusableImage          readable, but nothing to segment: constant, not finite, too small
│   ├── ImageTooLarge          more pixels than allowed, judging by the header
│   ├── StudyTooLarge          a study that needs more memory than the worker has
│   ├── MixedSizes             slices of one study with different sizes
│   ├── AmbiguousSeries        which series is which sequence is not clear
│   ├── UnknownSequence        which sequence the only image is, is not clear
│   ├── IncompleteSeries       too many slices of a series cannot be used
│   ├── SeveralPatients        an archive with folders of several patients
│   ├── UploadTooLarge         more bytes than allowed
│   ├── TooManyFiles           more files or slices than allowed
│   ├── UploadInterrupted      the body ended before its last boundary
│   ├── BadArchive             an archive that is damaged, empty or unsafe to open
│   ├── ArchiveBomb            an archive that expands beyond the limits
│   ├── NotComparable          studies that no follow-up can compare
│   └── InvalidParameter       an invalid field, header or query value
├── Unauthorised             an API key is needed, and none or an unknown one was sent
├── Forbidden                the API key lacks the scope
├── ForeignRequest           a page of another site sent the request
├── TooManyRequests          this caller has reached its limit of submissions
├── TooManyDownloads         this caller has reached its limit of files that are sent at a time
├── NotFound                 a job, model version or artefact that does not exist
│   └── NoCore                 the tumour core of this job's study is not known
├── Conflict                 the resource's state does not allow the call
│   ├── NotFinished            the job has not succeeded
│   └── IdempotencyConflict    the key was used with another body
├── ReviewedMeanwhile        someone else has reviewed the job since it was read
├── ReviewNotNamed           a review was sent without the ETag of the one that it replaces
├── NotAvailable             this job has no such artefact in that format
├── Unavailable              a service we depend on is down; try again later
│   ├── StoreUnavailable
│   ├── QueueUnavailable
│   ├── QueueFull              the queue has its maximum length
│   ├── StorageFull            a disk is nearly full
│   └── NoChampion             no model has been promoted yet
├── Cancelled                the job was cancelled while it ran
├── ModelRejected            a model version has a wrong checksum or incompatible preprocessing
├── ProcessingFailed         the worker could not finish a job, for a reason it states
│   └── PoisonedInput          every worker that took the job crashed
├── UnreadableRecord         a record in the store is damaged, or of a newer release
├── DatasetError             a training folder cannot be used
└── TrainingFailed           a training had to stop; it can be resumed from its last checkpoint
    ├── LossNotFinite          the loss or its gradient is infinite or NaN
    ├── DiskFull               no space for a checkpoint
    ├── FolderVanished         the folder of the run or the data has been deleted
    └── OutOfMemory            the machine or its GPU is out of memory
"""

from collections.abc import Sequence
from typing import NamedTuple


class SeriesCandidate(NamedTuple):
    """A series in doubt.

    Attributes:
        series: its number in the study.
        description: by kind, plane, size and times: nothing that was typed.
        files: how many it consists of.
        fields: those that it may belong in: pre, flair, post.
    """

    series: int
    description: str
    files: int
    fields: tuple[str, ...]


class MetsegError(Exception):
    """An error that the caller can act on; `detail` says how, in one sentence, without patient data.

    Attributes:
        type: the problem's URI reference (RFC 9457), stable across releases.
        title: the kind of problem in a few words, the same for every occurrence.
        status: the HTTP status.
        retry_after_s: when to retry; None if a retry would change nothing.
    """

    type = "about:blank"
    title = "Something went wrong"
    status = 500
    retry_after_s: float | None = None

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class BadInput(MetsegError):
    """The upload or a field must change before it can be accepted."""

    type, title, status = "/problems/bad-input", "The input cannot be used", 422


class EmptyUpload(BadInput):
    """No file was sent, or a file is empty."""

    type, title = "/problems/empty-upload", "The upload is empty"


class UnsupportedFormat(BadInput):
    """The content has no format that metseg reads, whatever its file name."""

    type, title, status = "/problems/unsupported-format", "The format is not supported", 415


class UnreadableImage(BadInput):
    """The format is supported, but the content is damaged."""

    type, title = "/problems/unreadable-image", "An image cannot be read"


class UnusableImage(BadInput):
    """The image can be read but has nothing to segment: it is constant, not finite or too small."""

    type, title = "/problems/unusable-image", "An image holds nothing to segment"


class ImageTooLarge(BadInput):
    """An image has more pixels than the deployment allows."""

    type, title, status = "/problems/image-too-large", "An image is too large", 413


class StudyTooLarge(BadInput):
    """The study is within all limits, but its segmentation needs more memory than the worker has."""

    type, title, status = "/problems/study-too-large", "The study needs too much memory", 413


class MixedSizes(BadInput):
    """The slices of one study differ in size, or its series in length."""

    type, title = "/problems/mixed-sizes", "The slices do not fit together"


class AmbiguousSeries(BadInput):
    """Several series could be one sequence, and nothing says which; `detail` lists them.

    Args:
        detail: for people.
        candidates: the same series for programs.
    """

    type, title = "/problems/ambiguous-series", "It is not clear which series is which"

    def __init__(self, detail: str, candidates: Sequence[SeriesCandidate] = ()) -> None:
        super().__init__(detail)
        self.candidates = tuple(candidates)


class UnknownSequence(BadInput):
    """The study is one grey image, and neither its name, its header nor its pixels say which sequence it is."""

    type, title = "/problems/unknown-sequence", "The sequence is not recognised"


class IncompleteSeries(BadInput):
    """So many slices of a series would be left out that its result would mislead."""

    type, title = "/problems/incomplete-series", "A series cannot be read as a whole"


class SeveralPatients(BadInput):
    """An archive contains folders of several patients, which are separate studies."""

    type, title = "/problems/several-patients", "The archive holds several patients"


class UploadTooLarge(BadInput):
    """The upload has more bytes than the deployment allows."""

    type, title, status = "/problems/upload-too-large", "The upload is too large", 413


class TooManyFiles(BadInput):
    """The study has more files or slices than the deployment allows."""

    type, title, status = "/problems/too-many-files", "There are too many files", 413


class UploadInterrupted(BadInput):
    """The body of the request ended early or is not valid multipart."""

    type, title, status = "/problems/upload-interrupted", "The upload is incomplete", 400


class BadArchive(BadInput):
    """An archive is damaged, contains no slice, or has file names that lead outside of it."""

    type, title = "/problems/bad-archive", "The archive cannot be opened"


class ArchiveBomb(BadInput):
    """An archive would expand beyond the limits."""

    type, title, status = "/problems/archive-bomb", "The archive expands too far", 413


class NotComparable(BadInput):
    """The studies cannot be compared: other patients, no position, no common structure, or no registration."""

    type, title = "/problems/not-comparable", "The studies cannot be compared"


class InvalidParameter(BadInput):
    """A field, header or query value is missing or invalid."""

    type, title = "/problems/invalid-parameter", "A parameter is not valid"


class Unauthorised(MetsegError):
    """The deployment needs an API key, and none or an unknown one was sent."""

    type, title, status = "/problems/unauthorised", "An API key is needed", 401


class Forbidden(MetsegError):
    """The API key does not have the scope that the call needs."""

    type, title, status = "/problems/forbidden", "The API key does not allow this", 403


class ForeignRequest(MetsegError):
    """A browser sent the request for another site's page, or under a name that is not this site's."""

    type, title, status = "/problems/foreign-request", "Another site sent this request", 403


class TooManyRequests(MetsegError):
    """This caller has reached its limit of submissions per minute or of open jobs."""

    type, title, status = "/problems/too-many-requests", "Too many submissions", 429
    retry_after_s = 15


class TooManyDownloads(MetsegError):
    """This caller reads as many files as it may at a time, and none of them ends."""

    type, title, status = "/problems/too-many-downloads", "Too many downloads at a time", 429
    retry_after_s = 15


class NotFound(MetsegError):
    """There is no such job, model version, slice or URL."""

    type, title, status = "/problems/not-found", "Not found", 404


class NoCore(NotFound):
    """The core of the study is not known: it has no post-contrast T1, or the model segments the whole alone."""

    type, title = "/problems/no-core", "The tumour core is not known"


class Conflict(MetsegError):
    """The state of the resource does not allow the call."""

    type, title, status = "/problems/conflict", "The state forbids this", 409


class NotFinished(Conflict):
    """The job has no result: it is waiting or running, failed, or was cancelled."""

    type, title = "/problems/not-finished", "The job has no result"


class IdempotencyConflict(Conflict):
    """An Idempotency-Key was used before with another body."""

    type, title = "/problems/idempotency-conflict", "The key was used with another body"


class ReviewedMeanwhile(MetsegError):
    """The job's review is not the one that the caller has read; read it again before replacing it."""

    type, title, status = "/problems/reviewed-meanwhile", "Someone else has reviewed the job", 412


class ReviewNotNamed(MetsegError):
    """The header If-Match, with the ETag of the review that is replaced, is missing."""

    type, title, status = "/problems/review-not-named", "The review to replace is not named", 428


class NotAvailable(MetsegError):
    """The artefact does not exist in the requested format."""

    type, title, status = "/problems/not-available", "The format is not available for this job", 406


class Unavailable(MetsegError):
    """A service that the gateway depends on is down; nothing was accepted, so try again later."""

    type, title, status = "/problems/unavailable", "Temporarily unavailable", 503
    retry_after_s = 5


class StoreUnavailable(Unavailable):
    """The object store does not answer."""

    type, title = "/problems/store-unavailable", "The object store does not answer"


class QueueUnavailable(Unavailable):
    """The queue does not answer."""

    type, title = "/problems/queue-unavailable", "The queue does not answer"


class QueueFull(Unavailable):
    """The queue has its maximum length; try again when some jobs are done."""

    type, title = "/problems/queue-full", "The queue is full"
    retry_after_s = 30


class StorageFull(Unavailable):
    """A disk that the upload needs is nearly full; someone has to free space."""

    type, title = "/problems/storage-full", "The disk is nearly full"
    retry_after_s = 60


class NoChampion(Unavailable):
    """The registry has no champion yet."""

    type, title = "/problems/no-champion", "No model is in service"


class Cancelled(MetsegError):
    """The job was cancelled while it ran."""

    type, title, status = "/problems/cancelled", "The job was cancelled", 409


class ModelRejected(MetsegError):
    """A model version does not match its checksum, or needs other preprocessing than this code has."""

    type, title, status = "/problems/model-rejected", "The model cannot be trusted", 409


class ProcessingFailed(MetsegError):
    """The worker could not finish the job; the detail gives the reason."""

    type, title = "/problems/processing-failed", "The job could not be processed"

    @classmethod
    def damaged_result(cls) -> "ProcessingFailed":
        """What was stored of an earlier job cannot be read."""
        return cls("A stored result is damaged; submit the study again.")


class PoisonedInput(ProcessingFailed):
    """Each worker that took the job crashed or never finished it; it is not retried."""

    type, title = "/problems/poisoned-input", "The input crashes its workers"


class UnreadableRecord(MetsegError):
    """A job's record in the store is damaged, or was written by a release that this one does not understand."""

    type, title = "/problems/unreadable-record", "The job's record cannot be read"


class DatasetError(MetsegError):
    """A training folder cannot be used as it is."""

    type, title, status = "/problems/dataset", "The data set cannot be used", 422


class TrainingFailed(MetsegError):
    """A training had to stop; its last checkpoint is intact."""

    type, title = "/problems/training-failed", "The training had to stop"


class LossNotFinite(TrainingFailed):
    """The loss or its gradient was infinite or NaN; the weights were not updated with it."""

    type, title = "/problems/loss-not-finite", "The loss is no longer a number"


class DiskFull(TrainingFailed):
    """There is no space for the next checkpoint."""

    type, title = "/problems/disk-full", "The disk is full"


class FolderVanished(TrainingFailed):
    """A folder that the training reads or writes has been deleted."""

    type, title = "/problems/folder-vanished", "A folder has been deleted"


class OutOfMemory(TrainingFailed):
    """The configuration needs more memory than the machine or its GPU has."""

    type, title = "/problems/out-of-memory", "The memory is too small"
