"""Objects as files below a folder."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from metseg.errors import NotFound, StoreUnavailable
from metseg.storage.base import CHUNK_BYTES, ObjectInfo, SizedStream, check_key, check_prefix

DAY_S = 86400


class LocalFolderStore:
    """Objects as files below one folder of a local file system.

    An object's etag is made of its file's inode, time and size: each write makes a new file. No key may be both
    an object and the folder of others.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()

    def put(
        self,
        key: str,
        data: bytes | BinaryIO,
        *,
        size: int | None = None,
        content_type: str = "application/octet-stream",
    ) -> None:
        """Write an object; see ObjectStore. A folder keeps no content type."""
        path = self._path(key)
        with self._written(path, SizedStream(data, size)) as name:
            os.replace(name, path)

    def create(self, key: str, data: bytes, *, content_type: str = "application/octet-stream") -> bool:
        """Write an object unless there is one; see ObjectStore."""
        path = self._path(key)
        with self._written(path, SizedStream(data, None)) as name:
            try:
                os.link(name, path)
            except FileExistsError:
                return False
        return True

    @contextlib.contextmanager
    def _written(self, path: Path, stream: SizedStream) -> Iterator[str]:
        """The name of a file beside `path`, whole on the disk, to be given its own."""
        self.check()  # never make a store anew where a volume is not mounted
        with _write_errors(), self._scratch(path) as file:
            shutil.copyfileobj(stream, file, CHUNK_BYTES)
            file.flush()
            os.fsync(file.fileno())
            yield file.name
            _sync_folder(path.parent)

    @contextlib.contextmanager
    def _scratch(self, path: Path) -> Iterator["tempfile._TemporaryFileWrapper[bytes]"]:
        """A file beside `path` whose name no key can have, gone afterwards unless it was renamed."""
        with self._folders(fcntl.LOCK_SH):
            path.parent.mkdir(parents=True, exist_ok=True)
            file = tempfile.NamedTemporaryFile(dir=path.parent, prefix="~", delete=False)  # noqa: SIM115
        try:
            yield file
        finally:
            file.close()
            Path(file.name).unlink(missing_ok=True)

    @contextlib.contextmanager
    def _folders(self, lock: int) -> Iterator[None]:
        """Making folders, in which something is put at once, and removing empty ones take turns."""
        descriptor = os.open(self._root, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, lock)
            yield
        finally:
            os.close(descriptor)

    def get(self, key: str) -> bytes:
        """The whole object; NotFound."""
        with self._read_errors(key):
            return self._path(key).read_bytes()

    @contextlib.contextmanager
    def stream(self, key: str) -> Iterator[Iterator[bytes]]:
        """The object in chunks; NotFound on entering."""
        with self._read_errors(key):
            file = self._path(key).open("rb")
        with file:
            yield self._chunks(key, file)

    def _chunks(self, key: str, file: BinaryIO) -> Iterator[bytes]:
        with self._read_errors(key):
            while chunk := file.read(CHUNK_BYTES):
                yield chunk

    def read(self, key: str, first: int, count: int) -> bytes:
        """Some bytes of the object; see ObjectStore."""
        with self._read_errors(key), self._path(key).open("rb") as file:
            file.seek(first)
            return file.read(count)

    def stat(self, key: str) -> ObjectInfo:
        """What is known of the object; NotFound."""
        path = self._path(key)
        with self._read_errors(key):
            if not path.is_file():
                raise FileNotFoundError(key)
            return _file_info(key, path.stat())

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Every object whose key begins with `prefix`, in the order of keys."""
        check_prefix(prefix)
        self.check()
        folder, _, _ = prefix.rpartition("/")
        with self._read_errors(prefix):
            yield from self._walk(folder, prefix)

    def _walk(self, folder: str, prefix: str) -> Iterator[ObjectInfo]:
        try:
            entries = list(os.scandir(self._root / folder))
        except (FileNotFoundError, NotADirectoryError):
            return
        names = {f"{entry.name}/" if entry.is_dir() else entry.name: entry for entry in entries}
        for name in sorted(names):  # with its slash a folder sorts where its objects do
            key = f"{folder}/{name}" if folder else name
            if name.startswith("~") or not (key.startswith(prefix) or prefix.startswith(key)):
                continue
            if name.endswith("/"):
                yield from self._walk(key[:-1], prefix)
                continue
            with contextlib.suppress(FileNotFoundError):  # deleted since
                yield _file_info(key, os.stat(names[name]))

    def delete(self, prefix: str) -> None:
        """Remove the object and all below it, and folders that this leaves empty."""
        path = self._path(prefix)
        with _write_errors():
            if path.is_file():
                path.unlink(missing_ok=True)
            for info in self.list(f"{prefix}/"):
                (self._root / info.key).unlink(missing_ok=True)
            with self._folders(fcntl.LOCK_EX):
                self._prune(path)

    def _prune(self, path: Path) -> None:
        below = [Path(folder) for folder, _, _ in os.walk(path, topdown=False)]
        above = [folder for folder in path.parents if folder.is_relative_to(self._root) and folder != self._root]
        for folder in [*below, *above]:
            with contextlib.suppress(OSError):  # not empty, or gone
                folder.rmdir()

    def check(self) -> None:
        """See whether the folder can be written."""
        if not os.access(self._root, os.R_OK | os.W_OK | os.X_OK):
            raise StoreUnavailable("The store's folder cannot be written; has the set-up run?")

    def free_bytes(self) -> int:
        """The room on the folder's disk."""
        with _write_errors():
            return shutil.disk_usage(self._root).free

    def prepare(self, job_days: int) -> None:
        """Make the folder, and remove what an interrupted write left. `Jobs.expire` does the expiring here."""
        with _write_errors():
            self._root.mkdir(parents=True, exist_ok=True)
            for scratch in self._root.rglob("~*"):
                if scratch.stat().st_mtime < time.time() - DAY_S:
                    scratch.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        check_key(key)
        return self._root / key

    @contextlib.contextmanager
    def _read_errors(self, key: str) -> Iterator[None]:
        try:
            with _write_errors(FileNotFoundError, IsADirectoryError, NotADirectoryError):
                yield
        except OSError as error:
            self.check()  # with the root gone nothing is known of the object
            raise NotFound(f"There is no object {key}.") from error


@contextlib.contextmanager
def _write_errors(*but: type[OSError]) -> Iterator[None]:
    try:
        yield
    except but:
        raise
    except OSError as error:
        raise StoreUnavailable("The store's folder cannot be used; is the disk full?") from error


def _file_info(key: str, stat: os.stat_result) -> ObjectInfo:
    etag = hashlib.sha256(f"{stat.st_ino}-{stat.st_mtime_ns}-{stat.st_size}".encode()).hexdigest()[:32]
    return ObjectInfo(key, stat.st_size, etag, datetime.fromtimestamp(stat.st_mtime, UTC))


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
