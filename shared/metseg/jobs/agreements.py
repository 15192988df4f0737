"""How far model and readers agree, by model version and week: drift as a site sees it.

Redis keeps the agreement of the newest review of each job for `WEEKS`, so that a reader who saves ten times counts
once. Like the other metrics it restarts when Redis is emptied; the reviews themselves are in the store.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from statistics import mean
from typing import Final, NamedTuple

from metseg.contracts import Contract, ReviewRecord
from metseg.errors import QueueUnavailable
from metseg.jobs.redis_connection import PREFIX, RedisConnection, text

__all__ = ["JobAgreements", "WeeklyAgreement"]

AGREEMENTS: Final = f"{PREFIX}agreements"  # hash: the newest agreement by job
WEEKS = 8


class _Agreement(Contract):
    """The agreement of one job's newest review."""

    model_version: str
    reviewed_at: datetime
    dice: float
    lesions_added: int
    lesions_rejected: int

    @property
    def week(self) -> str:
        """Of ISO 8601, such as `2026-W07`."""
        year, week, _ = self.reviewed_at.astimezone(UTC).isocalendar()
        return f"{year}-W{week:02d}"


class WeeklyAgreement(NamedTuple):
    """The agreement in one week.

    Attributes:
        reviews: jobs whose newest review is of this week.
        dice: mean Dice of the model's mask and the reviewed one, of the lesions' structure.
        lesions_added: that the model had missed, in all.
        lesions_rejected: of the model, in all.
    """

    reviews: int
    dice: float
    lesions_added: int
    lesions_rejected: int


class JobAgreements:
    """The agreements of a deployment."""

    def __init__(self, redis: RedisConnection) -> None:
        self._redis = redis

    def record(self, job_id: str, record: ReviewRecord) -> None:
        """Count the newest review of a job, in place of earlier ones; none after a return to the model's own answer.

        Args:
            job_id: of the job.
            record: of the review.
        """
        with suppress(QueueUnavailable), self._redis.errors():
            if record.agreement is None or record.reviewed_at is None:
                self._redis.client.hdel(AGREEMENTS, job_id)
                return
            kept = _Agreement(
                model_version=record.model_version,
                reviewed_at=record.reviewed_at,
                dice=record.agreement.dice.get("core", record.agreement.dice["whole"]),
                lesions_added=record.agreement.lesions_added,
                lesions_rejected=record.agreement.lesions_rejected,
            )
            self._redis.client.hset(AGREEMENTS, job_id, kept.model_dump_json())

    def weekly(self, now: datetime) -> Mapping[tuple[str, str], WeeklyAgreement]:
        """The last weeks' agreements by model version and week; older ones are removed.

        Args:
            now: the present time.

        Returns:
            By model version and week, such as `2026-W07`.

        Raises:
            QueueUnavailable: Redis does not answer.
        """
        with self._redis.errors():
            stored = {
                text(job_id): _Agreement.model_validate_json(value)
                for job_id, value in self._redis.client.hgetall(AGREEMENTS).items()
            }
            old = [job_id for job_id, each in stored.items() if each.reviewed_at < now - timedelta(weeks=WEEKS)]
            if old:
                self._redis.client.hdel(AGREEMENTS, *old)
        by_week: defaultdict[tuple[str, str], list[_Agreement]] = defaultdict(list)
        for job_id in stored.keys() - set(old):
            by_week[stored[job_id].model_version, stored[job_id].week].append(stored[job_id])
        return {key: _summarise(found) for key, found in sorted(by_week.items())}


def _summarise(found: Iterable[_Agreement]) -> WeeklyAgreement:
    found = list(found)
    return WeeklyAgreement(
        len(found),
        mean(each.dice for each in found),
        sum(each.lesions_added for each in found),
        sum(each.lesions_rejected for each in found),
    )
