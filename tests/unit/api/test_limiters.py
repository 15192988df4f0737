"""What one process does at a time: conversions by voxels, in order, and uploads by key."""

import anyio
import pytest

from metseg.errors import TooManyRequests
from metseg_api.limiters import UploadLimiter, VoxelLimiter


async def _convert(limiter: VoxelLimiter, name: str, voxels: int, started: list[str], end: anyio.Event) -> None:
    async with limiter.hold(voxels):
        started.append(name)
        await end.wait()


async def _settle() -> None:
    for _ in range(5):
        await anyio.lowlevel.checkpoint()


def test_conversions_are_weighed_by_their_voxels_and_start_in_order():
    async def run() -> None:
        limiter, started, end = VoxelLimiter(10), [], anyio.Event()
        async with anyio.create_task_group() as tasks:
            for name, voxels in [("a", 4), ("b", 5), ("larger than all", 99), ("small", 1)]:
                tasks.start_soon(_convert, limiter, name, voxels, started, end)
                await _settle()
            assert started == ["a", "b"], "the small one does not overtake the one that waits"
            end.set()
        assert started == ["a", "b", "larger than all", "small"]

    anyio.run(run)


def test_a_conversion_that_is_given_up_while_it_waits_holds_nothing():
    async def run() -> None:
        limiter, started, end = VoxelLimiter(10), [], anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_convert, limiter, "first", 10, started, end)
            await _settle()
            with anyio.move_on_after(0.01):
                await _convert(limiter, "given up", 10, started, end)
            tasks.start_soon(_convert, limiter, "second", 10, started, end)
            end.set()
        assert started == ["first", "second"]

    anyio.run(run)


async def _upload(limiter: UploadLimiter, key: str, started: list[str], end: anyio.Event) -> None:
    async with limiter.hold(key):
        started.append(key)
        await end.wait()


def test_a_key_cannot_take_all_upload_slots_and_free_ones_go_to_those_with_fewest():
    async def run() -> None:
        limiter, started = UploadLimiter(3, 2), []
        ends = [anyio.Event() for _ in range(7)]
        async with anyio.create_task_group() as tasks:
            for key, end in zip("aaaabbc", ends, strict=True):
                tasks.start_soon(_upload, limiter, key, started, end)
                await _settle()
            assert started == ["a", "a", "b"]
            ends[0].set()
            await _settle()
            assert started == ["a", "a", "b", "c"], "c holds none, so it comes before the others, which waited longer"
            for end in ends:
                end.set()
        assert sorted(started) == list("aaaabbc")

    anyio.run(run)


def test_an_upload_that_finds_no_slot_in_time_is_refused_and_holds_nothing():
    async def run() -> None:
        limiter, started, end = UploadLimiter(2, 1, max_wait_s=0.01), [], anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_upload, limiter, "a", started, end)
            await _settle()
            with pytest.raises(TooManyRequests):
                await _upload(limiter, "a", started, end)
            end.set()
        await _upload(limiter, "a", started, end)
        assert started == ["a", "a"]

    anyio.run(run)
