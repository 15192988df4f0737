"""The one error tree: what a caller can act on, over HTTP, on the command line and across Celery.

MetsegError
├── BadInput                 the upload or a field of it has to change
│   ├── EmptyUpload            no file, or a file of zero bytes
│   ├── UnsupportedFormat      content that is no format we read
│   ├── UnreadableImage        the right format, but damaged
│   ├── UnusableImage          readable, but nothing to segment: constant, not finite, too small
│   ├── ImageTooLarge          more pixels than allowed, told from the header
│   ├── MixedSizes             slices of one study that do not fit together
│   ├── SeveralPatients        an archive with more than one patient's folder
│   ├── UploadTooLarge         more bytes than allowed
│   ├── TooManyFiles           more files or slices than allowed
│   ├── UploadInterrupted      the body ended before its last boundary
│   ├── BadArchive             an archive that is damaged, empty or unsafe to open
│   ├── ArchiveBomb            an archive that expands beyond the limits
│   └── InvalidParameter       a field, header or query value out of its range
├── Unauthorised             no API key was given where one is needed, or one that is not known
├── Forbidden                the key is not for this
├── TooManyRequests          this caller submits more than the deployment allows it
├── NotFound                 a job, model version or artefact that is not there
├── Conflict                 the state of the thing forbids the call
│   ├── NotFinished            a result asked for before the job ended well
│   └── IdempotencyConflict    a key used again with another body
├── NotAvailable             an artefact this job cannot have in that format
├── Unavailable              something we depend on is away; try again later
│   ├── StoreUnavailable
│   ├── QueueUnavailable
│   ├── QueueFull              as many jobs wait as the deployment allows
│   ├── StorageFull            a disk is nearly full
│   └── NoChampion             no model has been promoted yet
├── Cancelled                the job was cancelled while it ran
├── ModelRejected            a model version whose bytes or contract cannot be trusted
├── ProcessingFailed         the worker could not finish a job, for a reason it states
│   └── PoisonedInput          every worker that took the job died of it
├── UnreadableRecord         a record in the store that is damaged, or of a newer release
├── DatasetError             a training folder that cannot be used
└── TrainingFailed           a training that had to stop; it goes on from its last checkpoint
    ├── LossNotFinite          the loss or its gradient is no number any more
    ├── DiskFull               no room for a checkpoint
    ├── FolderVanished         the run's or the data's folder has gone
    └── OutOfMemory            neither the machine's memory nor the GPU's may run out
"""


class MetsegError(Exception):
    """Something the caller can act on; `detail` tells how, in one sentence, without patient data.

    Attributes:
        type: the problem's URI reference (RFC 9457), stable across releases.
        title: the kind of problem in a few words, the same for every occurrence.
        status: the HTTP status that fits.
        retry_after_s: when to try again; None where that would change nothing.
    """

    type = "about:blank"
    title = "Something went wrong"
    status = 500
    retry_after_s: float | None = None

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class BadInput(MetsegError):
    """The upload or a field of it has to change before it can be accepted."""

    type, title, status = "/problems/bad-input", "The input cannot be used", 422


class EmptyUpload(BadInput):
    """No file was sent, or a file has no bytes."""

    type, title = "/problems/empty-upload", "The upload is empty"


class UnsupportedFormat(BadInput):
    """The content is of no format that metseg reads, whatever its name says."""

    type, title, status = "/problems/unsupported-format", "The format is not supported", 415


class UnreadableImage(BadInput):
    """The format is right, the content is damaged."""

    type, title = "/problems/unreadable-image", "An image cannot be read"


class UnusableImage(BadInput):
    """The image can be read but holds nothing to segment: constant, not finite or too small."""

    type, title = "/problems/unusable-image", "An image holds nothing to segment"


class ImageTooLarge(BadInput):
    """An image has more pixels than the deployment allows."""

    type, title, status = "/problems/image-too-large", "An image is too large", 413


class MixedSizes(BadInput):
    """The slices of one study differ in size, or its series in length."""

    type, title = "/problems/mixed-sizes", "The slices do not fit together"


class SeveralPatients(BadInput):
    """An archive holds the folders of several patients; each is a study of its own."""

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
    """An archive is damaged, holds no slice, or names files outside itself."""

    type, title = "/problems/bad-archive", "The archive cannot be opened"


class ArchiveBomb(BadInput):
    """An archive would expand beyond the limits."""

    type, title, status = "/problems/archive-bomb", "The archive expands too far", 413


class InvalidParameter(BadInput):
    """A field, header or query value is missing or out of its range."""

    type, title = "/problems/invalid-parameter", "A parameter is not valid"


class Unauthorised(MetsegError):
    """The deployment asks for an API key, and none was given that it knows."""

    type, title, status = "/problems/unauthorised", "An API key is needed", 401


class Forbidden(MetsegError):
    """The API key is known, but not for this."""

    type, title, status = "/problems/forbidden", "The API key does not allow this", 403


class TooManyRequests(MetsegError):
    """This caller has submitted as much as one may in a minute, or has as many jobs open as one may have."""

    type, title, status = "/problems/too-many-requests", "Too many submissions", 429
    retry_after_s = 15


class NotFound(MetsegError):
    """There is no such job, model version, slice or route."""

    type, title, status = "/problems/not-found", "Not found", 404


class Conflict(MetsegError):
    """The state of the thing forbids the call."""

    type, title, status = "/problems/conflict", "The state forbids this", 409


class NotFinished(Conflict):
    """The job has no result: it waits, runs, failed or was cancelled."""

    type, title = "/problems/not-finished", "The job has no result"


class IdempotencyConflict(Conflict):
    """An Idempotency-Key was used before with another body."""

    type, title = "/problems/idempotency-conflict", "The key was used with another body"


class NotAvailable(MetsegError):
    """The artefact cannot be given in the format asked for."""

    type, title, status = "/problems/not-available", "The format is not available for this job", 406


class Unavailable(MetsegError):
    """Something we depend on is away; nothing was accepted, so try again later."""

    type, title, status = "/problems/unavailable", "Temporarily unavailable", 503
    retry_after_s = 5


class StoreUnavailable(Unavailable):
    """The object store does not answer."""

    type, title = "/problems/store-unavailable", "The object store does not answer"


class QueueUnavailable(Unavailable):
    """The queue does not answer."""

    type, title = "/problems/queue-unavailable", "The queue does not answer"


class QueueFull(Unavailable):
    """As many jobs wait as the deployment allows; try again when some are done."""

    type, title = "/problems/queue-full", "The queue is full"
    retry_after_s = 30


class StorageFull(Unavailable):
    """A disk that the upload needs is nearly full; somebody has to make room."""

    type, title = "/problems/storage-full", "The disk is nearly full"
    retry_after_s = 60


class NoChampion(Unavailable):
    """The registry names no model to serve yet."""

    type, title = "/problems/no-champion", "No model is in service"


class Cancelled(MetsegError):
    """The job was cancelled while it ran."""

    type, title, status = "/problems/cancelled", "The job was cancelled", 409


class ModelRejected(MetsegError):
    """A model version does not match its checksum or needs another preprocessing than this code has."""

    type, title, status = "/problems/model-rejected", "The model cannot be trusted", 409


class ProcessingFailed(MetsegError):
    """The worker could not finish the job; the detail gives the reason."""

    type, title = "/problems/processing-failed", "The job could not be processed"


class PoisonedInput(ProcessingFailed):
    """Each worker that took the job died of it or never ended it; it is not tried again."""

    type, title = "/problems/poisoned-input", "The input ends its workers"


class UnreadableRecord(MetsegError):
    """A job's record in the store is damaged, or was written by a release that this one does not understand."""

    type, title = "/problems/unreadable-record", "The job's record cannot be read"


class DatasetError(MetsegError):
    """A training folder cannot be used as it is."""

    type, title, status = "/problems/dataset", "The data set cannot be used", 422


class TrainingFailed(MetsegError):
    """A training had to stop; what its last checkpoint holds is whole."""

    type, title = "/problems/training-failed", "The training had to stop"


class LossNotFinite(TrainingFailed):
    """The loss or its gradient was infinite or not a number; the weights were not changed by it."""

    type, title = "/problems/loss-not-finite", "The loss is no longer a number"


class DiskFull(TrainingFailed):
    """There is no room for the next checkpoint."""

    type, title = "/problems/disk-full", "The disk is full"


class FolderVanished(TrainingFailed):
    """A folder that the training reads or writes has gone."""

    type, title = "/problems/folder-vanished", "A folder has gone"


class OutOfMemory(TrainingFailed):
    """The recipe needs more memory than the machine or its GPU has."""

    type, title = "/problems/out-of-memory", "The memory is too small"
