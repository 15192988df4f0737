"""The part of the client that compares the studies of a patient."""

import uuid
from collections.abc import Callable, Sequence
from datetime import date

from metseg.client.connection import RemoteProblem
from metseg.client.job_pages import ReadPage, all_jobs
from metseg.client.review_client import ReviewClient
from metseg.contracts import FollowUp, FollowUpResult, FollowUpSubmission, Job, JobStatus
from metseg.errors import Cancelled, NotComparable

__all__ = ["FollowUpClient", "studies_of_patient"]

POLL_S = 3.0


class FollowUpClient(ReviewClient):
    """Submits and reads the follow-ups of a gateway."""

    def compare(self, jobs: Sequence[str], progress: Callable[[FollowUp], None] | None = None) -> FollowUpResult:
        """Compare the studies of a patient and wait for the result.

        Args:
            jobs: that have succeeded, oldest first; the first is the baseline.
            progress: called with the state every few seconds.

        Returns:
            Each lesion over time, the sums, and the proposed responses.

        Raises:
            RemoteProblem: the jobs cannot be compared.
            Cancelled: someone cancelled the follow-up.
        """
        return self.wait_for_follow_up(self.submit_follow_up(jobs).id, progress)

    def wait_for_follow_up(
        self, follow_up_id: str, progress: Callable[[FollowUp], None] | None = None
    ) -> FollowUpResult:
        """Wait for the result of a follow-up.

        Args:
            follow_up_id: of the follow-up.
            progress: called with the state every few seconds.

        Returns:
            Its result.

        Raises:
            RemoteProblem: the jobs cannot be compared.
            Cancelled: someone cancelled the follow-up.
        """
        found = self.follow_up(follow_up_id)
        while not found.status.final:
            found = self.follow_up(follow_up_id, wait_s=POLL_S)
            if progress is not None:
                progress(found)
        if found.problem is not None:
            raise RemoteProblem(found.problem)
        if found.result is None:
            raise Cancelled("The follow-up was cancelled while it waited or ran.")
        return found.result

    def submit_follow_up(self, jobs: Sequence[str], idempotency_key: str | None = None) -> FollowUp:
        """Submit a follow-up.

        Args:
            jobs: that have succeeded, oldest first.
            idempotency_key: the same key with the same jobs gives the same follow-up; None: a new key.

        Returns:
            The queued follow-up.
        """
        body = FollowUpSubmission.model_construct(jobs=list(jobs)).model_dump()
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        return self._read(FollowUp, "POST", "/v1/followups", headers=headers, json=body)

    def follow_up(self, follow_up_id: str, wait_s: float = 0) -> FollowUp:
        """The state of a follow-up, with its result once it has succeeded.

        Args:
            follow_up_id: of the follow-up.
            wait_s: how long, 60 at most, the gateway may delay the response until it ends.

        Returns:
            The follow-up.
        """
        return self._read_state(FollowUp, f"/v1/followups/{follow_up_id}", wait_s)

    def follow_up_report(self, follow_up_id: str) -> bytes:
        """The report of a follow-up that has succeeded, as HTML to read or print."""
        return self._connection.send("GET", f"/v1/followups/{follow_up_id}/report").content

    def follow_up_sr(self, follow_up_id: str) -> bytes:
        """A follow-up of studies that were uploaded as DICOM, as a DICOM structured report."""
        return self._connection.send("GET", f"/v1/followups/{follow_up_id}/structured-report").content

    def delete_follow_up(self, follow_up_id: str) -> None:
        """Cancel a follow-up if it has not ended, and delete it; its jobs stay."""
        self._connection.send("DELETE", f"/v1/followups/{follow_up_id}")


def studies_of_patient(read_page: ReadPage, patient: str) -> list[Job]:
    """The jobs of a patient that have succeeded, oldest study first; of one day the job that was submitted last.

    Args:
        read_page: such as `Client.jobs`.
        patient: as submitted.

    Returns:
        The jobs.

    Raises:
        NotComparable: there are fewer than two, or one has no date.
    """
    by_date: dict[date | None, Job] = {}
    for job in all_jobs(read_page):
        if job.patient == patient and job.status is JobStatus.SUCCEEDED:
            by_date.setdefault(job.taken_on, job)
    if None in by_date:
        raise NotComparable("A study of this patient has no `taken_on`; name the jobs in the order of their dates.")
    dated = [(day, job) for day, job in by_date.items() if day is not None]
    if len(dated) < 2:
        raise NotComparable("There are fewer than two studies of this patient that have succeeded.")
    return [job for _, job in sorted(dated, key=lambda each: each[0])]
