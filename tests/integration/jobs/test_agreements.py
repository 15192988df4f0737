"""The agreement of readers and model, by model version and week."""

from datetime import UTC, datetime, timedelta

import pytest

from metseg.contracts import Review, ReviewAgreement, ReviewRecord
from metseg.errors import QueueUnavailable
from metseg.jobs import RedisConnection
from metseg.jobs.agreements import AGREEMENTS, WEEKS, JobAgreements
from metseg.settings import Settings

NOW = datetime(2026, 3, 30, 12, tzinfo=UTC)
OLD, NEW = "20260101-000000-unet", "20260301-000000-unet"


@pytest.fixture
def agreements(redis):
    connection = RedisConnection.open(Settings(**redis.settings()))
    connection.client.delete(AGREEMENTS)
    yield JobAgreements(connection)
    connection.client.delete(AGREEMENTS)


def review(days_ago, dice, model=OLD, added=0, rejected=0, number=1):
    agreement = ReviewAgreement(dice={"core": dice, "whole": 1}, lesions_added=added, lesions_rejected=rejected)
    at = NOW - timedelta(days=days_ago)
    return ReviewRecord(number=number, reviewed_at=at, review=Review(), model_version=model, agreement=agreement)


def test_a_scripted_month_shows_the_week_in_which_the_model_drifts(agreements):
    for week, dice in enumerate((0.9, 0.9, 0.88, 0.6)):
        for job in range(5):
            drifts = week == 3
            agreements.record(f"{week}-{job}", review(28 - 7 * week, dice, added=2 * drifts, rejected=drifts))
    agreements.record("new", review(0, 0.95, model=NEW))
    weekly = agreements.weekly(NOW)
    assert [key for key in weekly if key[0] == OLD] == [(OLD, f"2026-W{week}") for week in ("10", "11", "12", "13")]
    assert [round(weekly[OLD, f"2026-W{week}"].dice, 2) for week in range(10, 14)] == [0.9, 0.9, 0.88, 0.6]
    drifted = weekly[OLD, "2026-W13"]
    assert (drifted.reviews, drifted.lesions_added, drifted.lesions_rejected) == (5, 10, 5)
    assert weekly[NEW, "2026-W14"].reviews == 1


def test_a_job_counts_once_with_its_newest_review(agreements):
    agreements.record("a", review(8, 0.5))
    agreements.record("a", review(0, 0.8, number=2))
    [weekly] = agreements.weekly(NOW).values()
    assert (weekly.reviews, weekly.dice) == (1, 0.8)
    withdrawn = ReviewRecord(number=3, reviewed_at=NOW, model_version=OLD)
    agreements.record("a", withdrawn)
    assert agreements.weekly(NOW) == {}


def test_old_weeks_are_forgotten(agreements):
    agreements.record("a", review(7 * WEEKS + 1, 0.5))
    agreements.record("b", review(1, 0.8))
    assert len(agreements.weekly(NOW)) == 1
    assert len(agreements.weekly(NOW - timedelta(weeks=2))) == 1, "it was removed, not only hidden"


def test_a_review_does_not_fail_without_redis():
    agreements = JobAgreements(RedisConnection.open(Settings(redis_url="redis://127.0.0.1:1/0")))
    agreements.record("a", review(0, 0.5))
    with pytest.raises(QueueUnavailable):
        agreements.weekly(NOW)
