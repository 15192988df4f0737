"""What happened to jobs, counted in Redis for all workers together.

Counts begin anew where Redis is emptied, as a counter may; what is away counts nothing and stops nobody. A name is
that of the metric which the gateway shows, a label its one label's value.
"""

import json
from bisect import bisect_left
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, NamedTuple

from metseg.errors import QueueUnavailable
from metseg.jobs.index import Live

__all__ = ["BUCKETS_S", "Counted", "Figures", "Spread"]

BUCKETS_S: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 1800.0)
"""Upper limits of the classes of durations; one without a limit follows."""
SUM: Final = "sum"


class Spread(NamedTuple):
    """How durations spread.

    Attributes:
        counts: of each class of `BUCKETS_S`, then of all that are longer; not summed up.
        sum_s: of all durations.
    """

    counts: tuple[int, ...]
    sum_s: float


class Counted(NamedTuple):
    """All counts, by name and label."""

    counters: Mapping[tuple[str, str], float]
    spreads: Mapping[tuple[str, str], Spread]


class Figures:
    """The counts of a deployment."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def began(self, waited_s: float) -> None:
        """A job's first attempt began, so long after it was accepted."""
        self._add(_observed("wait", "", waited_s))

    def succeeded(self, model: str, durations_s: Mapping[str, float]) -> None:
        """A job ended well: with which model, and how long each phase took."""
        added = {_field("ended", "succeeded"): 1.0, _field("served", model): 1.0}
        for phase, seconds in durations_s.items():
            added |= _observed("phase", phase, seconds)
        self._add(added)

    def failed(self, problem: str) -> None:
        """A job ended with a problem of this type."""
        self._add({_field("ended", problem): 1.0})

    def recovered(self, jobs: int) -> None:
        """Lost jobs were queued again."""
        self._add({_field("recovered", ""): float(jobs)})

    def read(self) -> Counted:
        """All counts; QueueUnavailable."""
        counters: dict[tuple[str, str], float] = {}
        classes: dict[tuple[str, str], dict[str, float]] = {}
        for field, value in self._live.counted().items():
            name, label, *part = json.loads(field)
            if part:
                classes.setdefault((name, label), {})[part[0]] = value
            else:
                counters[name, label] = value
        return Counted(counters, {key: _spread(found) for key, found in classes.items()})

    def _add(self, added: Mapping[str, float]) -> None:
        with suppress(QueueUnavailable):
            self._live.count(added)


def _observed(name: str, label: str, seconds: float) -> dict[str, float]:
    return {
        _field(name, label, str(bisect_left(BUCKETS_S, seconds))): 1.0,
        _field(name, label, SUM): max(seconds, 0.0),
    }


def _spread(found: Mapping[str, float]) -> Spread:
    counts = tuple(int(found.get(str(index), 0)) for index in range(len(BUCKETS_S) + 1))
    return Spread(counts, found.get(SUM, 0.0))


def _field(*parts: str) -> str:
    return json.dumps(parts)
