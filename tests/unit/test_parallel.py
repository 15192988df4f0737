"""Parallel work keeps its order, and stops on request."""

import os
import threading
import time
from collections.abc import Callable
from contextlib import closing

import pytest

from metseg import parallel
from metseg.parallel import cpu_quota, in_background, memory_limit_bytes, parallel_map


@pytest.mark.parametrize("max_concurrency", [1, 3])
def test_results_are_in_the_order_of_the_inputs(max_concurrency):
    def slow_at_first(number: int) -> int:
        time.sleep(0.02 if number == 0 else 0)
        return number * number

    assert list(parallel_map(slow_at_first, range(6), max_concurrency)) == [0, 1, 4, 9, 16, 25]


def test_max_concurrency_calls_run_together():
    meeting = threading.Barrier(3, timeout=10)
    assert len(list(parallel_map(lambda _: meeting.wait(), range(6), 3))) == 6


def test_a_failure_is_raised_and_pending_calls_never_start():
    begun = []

    def fail_at_once(number: int) -> None:
        begun.append(number)
        if number == 0:
            raise OSError("full")
        time.sleep(0.05)

    with pytest.raises(OSError, match="full"):
        list(parallel_map(fail_at_once, range(100), 2))
    assert len(begun) < 10


def test_closing_early_waits_for_running_calls_and_starts_no_more():
    begun, ended = [], []

    def work(number: int) -> None:
        begun.append(number)
        time.sleep(0.02)
        ended.append(number)

    with closing(parallel_map(work, range(100), 2)) as answers:
        next(answers)
    assert sorted(begun) == sorted(ended)
    assert len(begun) < 10


def test_a_background_call_returns_its_result_at_the_end_of_the_block():
    meeting = threading.Barrier(2, timeout=30)

    def meet(ended: object) -> str:
        meeting.wait()
        return "met"

    with in_background(meet) as answer:
        meeting.wait()
        assert answer() == "met"


def test_a_background_failure_is_raised_where_the_result_is_requested():
    def fail(ended: object) -> None:
        raise OSError("full")

    with in_background(fail) as answer, pytest.raises(OSError, match="full"):
        answer()


def test_a_block_that_ends_early_signals_the_background_call_and_waits():
    seen = []

    def work(ended: Callable[[], bool]) -> None:
        while not ended():
            time.sleep(0.001)
        seen.append("ended")

    with pytest.raises(InterruptedError), in_background(work):
        raise InterruptedError
    assert seen == ["ended"]


@pytest.fixture
def cgroup(tmp_path, monkeypatch):
    monkeypatch.setattr(parallel, "_CGROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    return tmp_path


@pytest.mark.parametrize(
    ("granted", "cpus"), [("200000 100000", 2), ("150000 100000", 2), ("50000 100000", 1), ("max 100000", 8)]
)
def test_threads_follow_the_cgroup_v2_quota(cgroup, granted, cpus):
    (cgroup / "cpu.max").write_text(granted)
    assert cpu_quota() == cpus


@pytest.mark.parametrize(("granted", "cpus"), [("300000", 3), ("-1", 8), ("9900000", 8)])
def test_threads_follow_the_cgroup_v1_quota(cgroup, granted, cpus):
    (cgroup / "cpu").mkdir()
    (cgroup / "cpu" / "cpu.cfs_quota_us").write_text(granted)
    (cgroup / "cpu" / "cpu.cfs_period_us").write_text("100000")
    assert cpu_quota() == cpus


def test_without_a_quota_threads_follow_the_cpu_affinity(cgroup):
    assert cpu_quota() == 8


@pytest.mark.parametrize("file", ["memory.max", "memory/memory.limit_in_bytes"])
def test_the_memory_is_the_containers_or_the_machines(monkeypatch, tmp_path, file):
    monkeypatch.setattr(parallel, "_CGROUP", tmp_path)
    machine = memory_limit_bytes()
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text("1048576\n")
    assert memory_limit_bytes() == 1048576
    for unlimited in ("max\n", f"{2**63 - 4096}\n"):
        (tmp_path / file).write_text(unlimited)
        assert memory_limit_bytes() == machine > 2**28
