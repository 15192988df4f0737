"""Separate stores for a test, their keys, and every call of a store."""

from metseg.storage import S3Store
from metseg.storage.base import MARKER


def s3_store(s3, bucket="lone", **changes):
    """A separate client, on another bucket than that of the fixture `store`, which other tests may not write to."""
    options = {"access_key": s3.access_key, "secret_key": s3.secret_key, "timeout_s": 5.0}
    return S3Store(changes.pop("endpoint", s3.endpoint), bucket, **{**options, **changes})


def keys(store, prefix=""):
    return [info.key for info in store.list(prefix) if info.key != MARKER]


def calls(store):
    def stream():
        with store.stream("x/a") as chunks:
            list(chunks)

    return {
        "put": lambda: store.put("x/a", b"1"),
        "create": lambda: store.create("x/new", b"1"),
        "get": lambda: store.get("x/a"),
        "stream": stream,
        "stat": lambda: store.stat("x/a"),
        "list": lambda: list(store.list("x/")),
        "delete": lambda: store.delete("x/a"),
        "check": store.check,
        "prepare": lambda: store.prepare(7),
    }


CALLS = ["put", "create", "get", "stream", "stat", "list", "delete", "check", "prepare"]


class Endless:
    """A stream whose size is known only after reading it."""

    def __init__(self, size):
        self.left = size
        self.largest_read = 0

    def read(self, count=-1):
        self.largest_read = max(self.largest_read, count)
        size = self.left if count < 0 else min(count, self.left)
        self.left -= size
        return b"\x5a" * size
