"""The contract of every store: the same tests for a real S3 and a folder."""

import io
import threading
import tracemalloc
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.integration.stores import Endless, keys, s3_store
from tests.slice_archives import archived

from metseg.errors import NotFound, UploadInterrupted
from metseg.results import SliceArchive
from metseg.settings import MIB, Settings
from metseg.storage import LocalFolderStore, ObjectPart, RangedFile, S3Store, open_store
from metseg.storage.base import MAX_REMOVED
from metseg.storage.s3 import PART_BYTES


def test_a_get_returns_what_was_put(store):
    store.put("jobs/1/request.json", b'{"a": 1}', content_type="application/json")
    assert store.get("jobs/1/request.json") == b'{"a": 1}'


def test_an_object_may_be_empty(store):
    store.put("x/empty", b"")
    assert store.get("x/empty") == b""
    assert store.stat("x/empty").size == 0


@pytest.mark.parametrize(("first", "count"), [(0, 1), (0, 1000), (999, 1), (3, 500), (990, 20), (1000, 1), (2000, 7)])
def test_a_range_of_an_object_is_read_alone(store, first, count):
    content = bytes(range(250)) * 4
    store.put("x/long", content)
    assert store.get("x/long", first, count) == content[first : first + count]
    with store.stream("x/long", first, count) as chunks:
        assert b"".join(chunks) == content[first : first + count]


def test_a_range_of_a_missing_object_is_not_found(store):
    with pytest.raises(NotFound):
        store.get("x/none", 0, 1)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    places=st.lists(st.tuples(st.integers(0, 1100), st.integers(0, 300)), min_size=1, max_size=9),
    ahead=st.sampled_from([1, 64, 5000]),
)
def test_an_object_is_a_seekable_file(store, places, ahead):
    content = bytes(range(250)) * 4
    store.put("x/ranged", bytes(100) + content + bytes(100))
    file = RangedFile(store, ObjectPart("x/ranged", 100, 1000), ahead)
    for first, count in places:
        file.seek(first)
        assert file.read(count) == content[first : first + count]
        assert file.tell() == min(first + count, max(first, 1000))


def test_a_file_of_an_object_ends_with_the_object(store):
    store.put("x/ranged", b"0123456789")
    file = RangedFile(store, ObjectPart("x/ranged", 0, 10))
    assert (file.seek(-3, io.SEEK_END), file.read()) == (7, b"789")
    assert (file.seek(-6, io.SEEK_CUR), file.read(2), file.readable(), file.seekable()) == (4, b"45", True, True)
    with pytest.raises(OSError, match="before the start"):
        file.seek(-1)


def test_a_file_of_an_object_fetches_only_what_is_read(store):
    class Counted:
        def __init__(self):
            self.fetched = []

        def get(self, key, first, count):
            self.fetched.append(count)
            return store.get(key, first, count)

    pictures = [bytes([index]) * 5000 for index in range(60)]
    pack, counted = archived(pictures), Counted()
    store.put("x/pack", pack)
    archive = SliceArchive(io.BufferedReader(RangedFile(counted, ObjectPart("x/pack", 0, len(pack)), 2**14)))
    assert archive.read_slice(7) == pictures[7]
    assert len(counted.fetched) <= 3
    assert sum(counted.fetched) <= 3 * 2**14


def test_folders_are_listed_in_order_and_after_a_name(store):
    for name in ("b", "a", "c"):
        store.put(f"x/{name}/1", b"1")
        store.put(f"x/{name}/deeper/2", b"2")
    store.put("x/file", b"3")
    assert list(store.folders("x/")) == ["a", "b", "c"]
    assert list(store.folders("x/", after="a")) == ["b", "c"]
    assert list(store.folders("x/", after="az")) == ["b", "c"]
    assert list(store.folders("nothing/")) == []


def test_a_list_ends_before_a_key_and_at_a_limit(store):
    for key in ("x/a/1", "x/a/2", "x/b/1"):
        store.put(key, b"1")
    assert [info.key for info in store.list("x/", before="x/b")] == ["x/a/1", "x/a/2"]
    assert [info.key for info in store.list("x/", limit=1)] == ["x/a/1"]


def test_many_objects_are_removed_and_missing_ones_are_no_error(store):
    names = [f"x/{number}" for number in range(MAX_REMOVED + 1)]
    for key in [*names, "x/kept"]:
        store.put(key, b"1")
    store.remove([*names, "x/none"])
    store.remove([])
    assert keys(store) == ["x/kept"]


def test_a_put_replaces(store):
    store.put("x/a", b"first")
    before = store.stat("x/a")
    store.put("x/a", b"other")
    assert store.get("x/a") == b"other"
    assert store.stat("x/a").etag != before.etag


def test_only_one_of_many_creates_succeeds(store):
    mine = []

    def create(number):
        if store.create("x/once", f"content {number}".encode()):
            mine.append(number)

    threads = [threading.Thread(target=create, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(mine) == 1
    assert store.get("x/once") == f"content {mine[0]}".encode()
    assert keys(store) == ["x/once"]


def test_a_retried_create_succeeds_on_s3(store):
    assert store.create("x/once", b"mine, whose answer was lost")
    assert store.create("x/once", b"mine, whose answer was lost") == isinstance(store, S3Store)
    assert not store.create("x/once", b"another's")
    store.delete("x/once")
    assert store.create("x/once", b"another's")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=4096), known=st.booleans())
def test_a_stream_keeps_any_bytes(store, content, known):
    store.put("x/any", io.BytesIO(content), size=len(content) if known else None)
    assert store.get("x/any") == content
    assert store.stat("x/any").size == len(content)


@pytest.mark.parametrize("size", [PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 2 * PART_BYTES + 5])
def test_a_stream_of_unknown_size_is_kept_whole_near_the_part_size(store, size):
    store.put("x/parts", Endless(size))
    with store.stream("x/parts") as chunks:
        assert sum(len(chunk) for chunk in chunks) == size


def test_a_large_stream_is_never_whole_in_memory(store):
    stream = Endless(96 * MIB)
    tracemalloc.start()
    try:
        store.put("x/large", stream)
        with store.stream("x/large") as chunks:
            sizes = [len(chunk) for chunk in chunks]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sum(sizes) == 96 * MIB
    assert max(sizes) <= 4 * MIB
    assert peak < 40 * MIB
    assert stream.largest_read <= PART_BYTES + 1


@pytest.mark.parametrize("size", [3, 30])
def test_a_stream_of_the_wrong_length_leaves_nothing(store, size):
    with pytest.raises(UploadInterrupted):
        store.put("x/cut", io.BytesIO(b"0123456789"), size=size)
    assert keys(store, "x") == []


def test_a_broken_stream_leaves_the_old_object(store):
    class Broken(Endless):
        def read(self, count=-1):
            if self.left < PART_BYTES:
                raise UploadInterrupted("The client hung up.")
            return super().read(count)

    store.put("x/kept", b"as before")
    with pytest.raises(UploadInterrupted, match="hung up"):
        store.put("x/kept", Broken(2 * PART_BYTES + 9))
    assert store.get("x/kept") == b"as before"
    assert keys(store) == ["x/kept"]


def test_a_reader_never_sees_half_an_object(store):
    contents = {bytes([fill]) * 300_000 for fill in range(4)}
    store.put("x/racing", min(contents))
    stop = threading.Event()

    def write():
        while not stop.is_set():
            for content in contents:
                store.put("x/racing", content)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen = [store.get("x/racing") in contents for _ in range(40)]
    finally:
        stop.set()
        writer.join()
    assert all(seen)


@pytest.mark.parametrize("call", ["get", "stat"])
@pytest.mark.parametrize("key", ["x/absent", "absent", "x", "x/here/below"])
def test_a_missing_object_is_not_found(store, call, key):
    store.put("x/here", b"1")
    with pytest.raises(NotFound):
        getattr(store, call)(key)


def test_streaming_a_missing_object_fails_on_entering(store):
    with pytest.raises(NotFound), store.stream("x/absent"):
        pytest.fail("entered")


def test_a_stat_has_the_size_and_time_of_the_listing(store):
    store.put("x/a", b"12345")
    info = store.stat("x/a")
    assert (info.key, info.size) == ("x/a", 5)
    assert abs(datetime.now(UTC) - info.modified) < timedelta(minutes=1)
    [listed] = store.list("x/a")
    assert (listed.key, listed.size, listed.etag) == (info.key, info.size, info.etag)


def test_a_listing_is_recursive_and_in_the_order_of_keys(store):
    names = ["x/a/1", "x/a-b", "x/a.b", "x/b/c/d", "x/z", "x/a/0/9"]
    for name in names:
        store.put(name, b"")
    assert keys(store, "x/") == sorted(names)


def test_a_listing_accepts_part_of_a_name(store):
    for name in ("x/ab/1", "x/abc", "x/b", "models/x"):
        store.put(name, b"")
    assert keys(store, "x/ab") == ["x/ab/1", "x/abc"]
    assert keys(store, "x/ab/") == ["x/ab/1"]
    assert keys(store, "y") == []


def test_a_listing_continues_past_one_page_of_the_server(s3):
    store = s3_store(s3, "many")
    store.prepare(7)
    for index in range(1005):
        store.put(f"x/many/{index:04d}", b"")
    assert len(keys(store, "x/many/")) == 1005
    store.delete("x/many")
    assert keys(store, "x") == []


def test_a_delete_removes_the_object_and_all_below_it_but_no_neighbour(store):
    for name in ("jobs/1/request.json", "jobs/1/input/0000", "jobs/12/request.json", "x/1"):
        store.put(name, b"1")
    store.delete("jobs/1")
    assert keys(store) == ["jobs/12/request.json", "x/1"]
    store.delete("x/1")
    assert keys(store) == ["jobs/12/request.json"]


def test_deleting_nothing_is_no_error(store):
    store.delete("x/absent")
    store.delete("x/absent")


BAD_KEYS = ["", "/", "/x", "x/", "x//y", "..", "x/../y", "../x", "x/./y", "X", "x y", "x\\y", "x\0", "é", "~x"]


@pytest.mark.parametrize("key", BAD_KEYS)
def test_an_invalid_key_is_refused_by_every_call(store, key):
    for call in (lambda: store.put(key, b""), lambda: store.get(key), lambda: store.stat(key)):
        with pytest.raises(ValueError, match="not a key"):
            call()
    with pytest.raises(ValueError, match="not a key"):
        store.delete(key)
    with pytest.raises(ValueError, match="not a key"), store.stream(key):
        pytest.fail("entered")


@pytest.mark.parametrize("prefix", ["../", "/x", "x/../", "/"])
def test_an_invalid_prefix_is_refused(store, prefix):
    with pytest.raises(ValueError, match="not a key"):
        list(store.list(prefix))


def test_preparing_twice_keeps_every_object(store):
    store.put("models/a", b"1")
    store.prepare(job_days=3)
    store.check()
    assert store.get("models/a") == b"1"


# Which store


def test_the_settings_choose_the_store(s3, tmp_path):
    assert isinstance(open_store(Settings(store_directory=tmp_path)), LocalFolderStore)
    store = open_store(Settings(**s3.settings(), s3_bucket="chosen"))
    assert isinstance(store, S3Store)
    store.prepare(7)
    store.check()


def test_settings_must_name_exactly_one_store(tmp_path):
    with pytest.raises(ValueError, match="METSEG_S3_ENDPOINT"):
        open_store(Settings())
    with pytest.raises(ValueError, match="not both"):
        open_store(Settings(store_directory=tmp_path, s3_endpoint="127.0.0.1:1"))
