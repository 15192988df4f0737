"""Reviewed studies that may be used for training, as copies in the object store that the trainer may read.

    training/CASE/000001/slices.zip     the slices of the study
    training/CASE/000001/core.nii.gz    the reviewed core, where a core is known
    training/CASE/000001/whole.nii.gz   the reviewed whole
    training/CASE/000001/study.json     what they are; written last, when the review is in force
    site/training-key                   the secret of the pseudonyms, which the trainer may not read

The gateway writes a copy when a reader allows it, since the trainer has no access to jobs. CASE and the person in
`study.json` are HMAC-SHA256 of the job's id and of the patient's pseudonym, so that neither can be found by trying
names. A copy outlasts its job's expiry. It is deleted by a review that does not allow it, a return to the model's own
answer, and the deletion of the job.

Nothing is copied without a permission in force: without `study.json` the other files are not a study, and a permission
is withdrawn before the review that withdraws it is in force.
"""

from collections.abc import Iterator, Mapping
from tempfile import TemporaryFile

from pydantic import Field

from metseg.contracts import Contract, Role, Structure
from metseg.jobs.site_secret import SiteSecret
from metseg.storage import ObjectPart, ObjectStore

__all__ = ["TRAINING_SLICES", "TrainingStudies", "TrainingStudy"]

TRAINING_SLICES = "slices.zip"
_ROOT, _STUDY, _SECRET = "training", "study.json", "site/training-key"


class TrainingStudy(Contract):
    """A reviewed study for training, without identities."""

    case: str = Field(description="pseudonym of the job")
    person: str = Field(description="pseudonym of the patient, the same for all of their studies")
    review: int = Field(ge=1, description="number of the review that the masks show")
    model_version: str = Field(description="that was reviewed")
    roles: list[Role] = Field(description="the sequences that the study has")
    structures: list[Structure] = Field(description="the masks that it has")

    @property
    def key(self) -> str:
        """Of its folder in the store."""
        return _folder(self.case, self.review)


class TrainingStudies:
    """The copies of all reviewed studies that may be used for training.

    Args:
        objects: the object store.
    """

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects
        self._secret = SiteSecret(objects, _SECRET)

    def deposit(self, job_id: str, review: int, slices: ObjectPart, masks: Mapping[Structure, bytes]) -> None:
        """Copy the files of a study; `release` or `discard` must follow.

        Args:
            job_id: of the job.
            review: number of the review that allows it.
            slices: where the archive of its slices is.
            masks: by structure, NIfTI.
        """
        folder = _folder(self._pseudonym("case", job_id), review)
        with TemporaryFile() as copy, self._objects.stream(*slices) as chunks:
            for chunk in chunks:
                copy.write(chunk)
            copy.seek(0)
            self._objects.put(f"{folder}/{TRAINING_SLICES}", copy)
        for structure, mask in masks.items():
            self._objects.put(f"{folder}/{structure}.nii.gz", mask)

    def release(self, job_id: str, patient: str | None, description: Mapping[str, object]) -> None:
        """Let the trainer read what was deposited, in place of any earlier state of the study.

        Args:
            job_id: of the job.
            patient: pseudonym that the study was submitted with; None: it is the only one of its patient.
            description: the other fields of `TrainingStudy`.
        """
        person = self._pseudonym("person", patient or job_id)
        study = TrainingStudy.model_validate({**description, "case": self._pseudonym("case", job_id), "person": person})
        self._objects.put(f"{study.key}/{_STUDY}", study.model_dump_json().encode(), content_type="application/json")
        self._delete_before(study.case, study.review)

    def discard(self, job_id: str, review: int) -> None:
        """Delete what was deposited for a review that is not in force.

        Args:
            job_id: of the job.
            review: number of the review.
        """
        self._objects.delete(_folder(self._pseudonym("case", job_id), review))

    def withdraw(self, job_id: str, review: int) -> None:
        """Delete what earlier reviews of a job allowed.

        Args:
            job_id: of the job.
            review: number of the review that does not allow it.
        """
        if self._secret.exists():
            self._delete_before(self._pseudonym("case", job_id), review)

    def delete(self, job_id: str) -> None:
        """Delete all copies of a job's study, if there are any."""
        if self._secret.exists():
            self._objects.delete(f"{_ROOT}/{self._pseudonym('case', job_id)}")

    def studies(self) -> Iterator[TrainingStudy]:
        """All studies, each in its newest state."""
        newest = {info.key.split("/")[1]: info.key for info in self._objects.list(f"{_ROOT}/") if _is_study(info.key)}
        for key in newest.values():
            yield TrainingStudy.model_validate_json(self._objects.get(key))

    def _delete_before(self, case: str, review: int) -> None:
        folders = {info.key.rpartition("/")[0] for info in self._objects.list(f"{_ROOT}/{case}/")}
        for folder in sorted(folders):
            if folder < _folder(case, review):
                self._objects.delete(folder)

    def _pseudonym(self, kind: str, text: str) -> str:
        return self._secret.pseudonym(f"{kind} {text}")


def _folder(case: str, review: int) -> str:
    return f"{_ROOT}/{case}/{review:06d}"


def _is_study(key: str) -> bool:
    return key.count("/") == 3 and key.endswith(f"/{_STUDY}")
