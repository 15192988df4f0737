"""Behaviour specific to the folder store, and its errors when the disk fails."""

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.integration.stores import CALLS, calls, keys

from metseg.errors import StoreUnavailable
from metseg.storage import LocalFolderStore
from metseg.storage.base import MARKER


@pytest.fixture
def folder(tmp_path):
    store = LocalFolderStore(tmp_path / "store")
    store.prepare(7)
    return store


def test_a_delete_leaves_no_empty_folder(folder, tmp_path):
    folder.put("jobs/1/input/0000", b"1")
    folder.delete("jobs/1")
    assert [path.name for path in (tmp_path / "store").iterdir()] == [MARKER]


def test_a_partial_write_is_never_listed_and_is_removed_later(folder, tmp_path):
    folder.put("x/a", b"1")
    remains = [tmp_path / "store" / "x" / name for name in ("~old", "~new")]
    for path in remains:
        path.write_bytes(b"half")
    os.utime(remains[0], (0, 0))
    assert keys(folder) == ["x/a"]
    folder.prepare(7)
    assert [path.exists() for path in remains] == [False, True]


def test_a_write_that_is_killed_leaves_nothing(folder, tmp_path):
    program = f"""
import io, os, pathlib, signal
from metseg.storage import LocalFolderStore

class Killer(io.BytesIO):
    def read(self, size=-1):
        return super().read(10) or os.kill(os.getpid(), signal.SIGKILL)

LocalFolderStore(pathlib.Path({str(tmp_path / "store")!r})).put("jobs/1/input/0000", Killer(b"pixels"))
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -signal.SIGKILL
    assert [path.name for path in (tmp_path / "store").rglob("*")] == [MARKER]


def test_a_file_system_without_unnamed_files_is_written_too(folder, tmp_path, monkeypatch):
    real = os.open

    def open_named(path, flags, *more, **options):
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "not supported")
        return real(path, flags, *more, **options)

    monkeypatch.setattr(os, "open", open_named)
    folder.put("x/a", b"1")
    folder.put("x/a", b"2")
    assert folder.create("x/b", b"3")
    assert not folder.create("x/b", b"4")
    assert (keys(folder), folder.get("x/a"), folder.get("x/b")) == (["x/a", "x/b"], b"2", b"3")
    assert sorted(path.name for path in (tmp_path / "store").rglob("*")) == ["a", "b", MARKER, "x"]


def test_a_reservation_takes_space_until_it_ends(folder):
    before = folder.free_bytes()
    with folder.reserve(2**28):
        assert folder.free_bytes() < before - 2**27
        assert keys(folder) == []
    assert folder.free_bytes() > before - 2**27
    with pytest.raises(StoreUnavailable), folder.reserve(2**60):
        pass


def test_concurrent_puts_and_deletes_in_one_folder_succeed(folder):
    stop = threading.Event()

    def delete():
        while not stop.is_set():
            folder.delete("x/y/a")

    deleter = threading.Thread(target=delete)
    deleter.start()
    try:
        for _ in range(100):
            folder.put("x/y/b", b"1")
            folder.delete("x/y/b")
    finally:
        stop.set()
        deleter.join()
    assert keys(folder) == []


@pytest.mark.parametrize("call", [call for call in CALLS if call not in {"delete", "prepare"}])
def test_a_missing_folder_is_store_unavailable_and_is_not_recreated(tmp_path, call):
    store = LocalFolderStore(tmp_path / "unmounted")
    with pytest.raises(StoreUnavailable):
        calls(store)[call]()
    assert not (tmp_path / "unmounted").exists()


def test_a_folder_that_cannot_be_created_is_store_unavailable(folder):
    folder.put("x/a", b"1")
    with pytest.raises(StoreUnavailable):
        folder.put("x/a/b", b"1")
    assert keys(folder) == ["x/a"]


def test_a_full_disk_is_store_unavailable_and_leaves_nothing(folder, monkeypatch):
    def full(_descriptor):
        raise OSError(28, "No space left on device")

    folder.put("x/a", b"1")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreUnavailable):
        folder.put("x/b", b"2")
    monkeypatch.undo()
    assert keys(folder) == ["x/a"]
    assert [path.name for path in Path(folder._root, "x").iterdir()] == ["a"]
