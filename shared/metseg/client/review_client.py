"""The part of the client that reviews the results of a job."""

from typing import Any

import httpx

from metseg.client.connection import parse
from metseg.client.result_reader import ResultReader
from metseg.contracts import Review, ReviewHistory, ReviewRecord

__all__ = ["ReviewClient"]


class ReviewClient(ResultReader):
    """Reads and replaces the reviews of a gateway's jobs."""

    def review(self, job_id: str, number: int | None = None) -> ReviewRecord:
        """A review of a job.

        Args:
            job_id: of a job that succeeded.
            number: of an earlier review; None: the one in force, which has the number 0 if there was never one.

        Returns:
            The review, who made it and when.
        """
        query = {} if number is None else {"number": str(number)}
        return self._read(ReviewRecord, "GET", f"/v1/jobs/{job_id}/review", params=query)

    def reviews(self, job_id: str) -> ReviewHistory:
        """All reviews of a job, newest first."""
        return self._read(ReviewHistory, "GET", f"/v1/jobs/{job_id}/reviews")

    def put_review(self, job_id: str, review: Review, replaces: int) -> ReviewRecord:
        """Put a review into force; result and downloads follow.

        The call is not retried: after a lost response the review may be in force already, under another number.

        Args:
            job_id: of a job that succeeded.
            review: all changes to the model's own answer.
            replaces: number of the review that it replaces, as `review` returned it.

        Returns:
            The review as it is stored.

        Raises:
            RemoteProblem: another review is in force (`/problems/reviewed-meanwhile`), or it does not fit the study.
        """
        content = review.model_dump(mode="json")
        return parse(ReviewRecord, self._send("PUT", job_id, replaces, json=content))

    def withdraw_review(self, job_id: str, replaces: int) -> ReviewRecord:
        """Return to the model's own answer. Not retried, as `put_review`.

        Args:
            job_id: of a job that succeeded.
            replaces: number of the review that is withdrawn, as `review` returned it.

        Returns:
            The record of that.

        Raises:
            RemoteProblem: another review is in force (`/problems/reviewed-meanwhile`).
        """
        return parse(ReviewRecord, self._send("DELETE", job_id, replaces))

    def _send(self, method: str, job_id: str, replaces: int, **request: Any) -> httpx.Response:  # noqa: ANN401
        headers = {"If-Match": f'"{replaces}"'}
        return self._connection.send_once(method, f"/v1/jobs/{job_id}/review", headers=headers, **request)
