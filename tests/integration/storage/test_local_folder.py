"""Behaviour specific to the folder store, and its errors when the disk fails."""

import os
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
