"""When a study that arrives in a folder is complete, judged by its files alone, as on a network share."""

import os

import pytest

from metseg.cli.watch_folder import WatchFolder, take_snapshot

QUIET_S = 10.0


class Clock:
    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def arrivals(tmp_path, clock):
    return WatchFolder(tmp_path, QUIET_S, clock=clock)


def complete(arrivals):
    return [path.name for path, _ in arrivals.scan()[0]]


def put(path, content=b"1"):
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)


def test_a_study_is_complete_after_a_quiet_period(tmp_path, clock, arrivals):
    put(tmp_path / "a.zip")
    assert arrivals.scan() == ([], 1)
    clock.now_s = QUIET_S - 0.1
    assert complete(arrivals) == []
    clock.now_s = QUIET_S
    assert complete(arrivals) == ["a.zip"]


def test_a_growing_study_is_not_complete(tmp_path, clock, arrivals):
    for second in range(30):
        clock.now_s = second
        put(tmp_path / "study" / f"{second}.png")
        assert complete(arrivals) == []
    clock.now_s += QUIET_S
    assert complete(arrivals) == ["study"]


def test_a_rewritten_file_counts_as_a_change(tmp_path, clock, arrivals):
    put(tmp_path / "a.zip")
    arrivals.scan()
    clock.now_s = 9
    put(tmp_path / "a.zip", b"2")
    os.utime(tmp_path / "a.zip", ns=(1, 1))
    arrivals.scan()
    clock.now_s = QUIET_S
    assert complete(arrivals) == []


def test_a_wrong_clock_of_the_share_does_not_matter(tmp_path, clock, arrivals):
    put(tmp_path / "a.zip")
    os.utime(tmp_path / "a.zip", (4e9, 4e9))
    arrivals.scan()
    clock.now_s = QUIET_S
    assert complete(arrivals) == ["a.zip"]


@pytest.mark.parametrize("name", ["done", "Failed", ".hidden", "a.zip.part", "a.tmp", "Thumbs.db"])
def test_files_that_are_no_study_are_ignored(tmp_path, clock, arrivals, name):
    put(tmp_path / name / "1.png") if "." not in name else put(tmp_path / name)
    arrivals.scan()
    clock.now_s = QUIET_S
    assert arrivals.scan() == ([], 0)


def test_a_folder_with_an_unfinished_file_is_not_complete(tmp_path, clock, arrivals):
    put(tmp_path / "study" / "1.png")
    put(tmp_path / "study" / "2.png.part")
    arrivals.scan()
    clock.now_s = QUIET_S
    assert complete(arrivals) == []


def test_an_empty_folder_is_not_a_study(tmp_path, clock, arrivals):
    (tmp_path / "study").mkdir()
    arrivals.scan()
    clock.now_s = QUIET_S
    assert arrivals.scan() == ([], 0)


def test_the_longest_waiting_studies_come_first(tmp_path, clock, arrivals):
    for second, name in enumerate(("c.zip", "a.zip", "b.zip")):
        clock.now_s = second
        put(tmp_path / name)
        arrivals.scan()
    clock.now_s = 60
    assert complete(arrivals) == ["c.zip", "a.zip", "b.zip"]


def test_with_a_marker_a_study_is_complete_when_the_marker_is_there(tmp_path, clock):
    arrivals = WatchFolder(tmp_path, QUIET_S, ".ready", clock)
    put(tmp_path / "study" / "1.png")
    put(tmp_path / "a.zip")
    clock.now_s = 1000
    assert arrivals.scan() == ([], 2)
    put(tmp_path / "study" / ".ready")
    assert complete(arrivals) == ["study"]
    put(tmp_path / "a.zip.ready")
    assert sorted(complete(arrivals)) == ["a.zip", "study"]


def test_a_signature_changes_with_any_file_of_a_study(tmp_path):
    put(tmp_path / "study" / "1.png")
    before = take_snapshot(tmp_path / "study")
    put(tmp_path / "study" / "2.png")
    assert len({before, take_snapshot(tmp_path / "study"), take_snapshot(tmp_path / "gone")}) == 3
    assert take_snapshot(tmp_path / "gone") == ()
