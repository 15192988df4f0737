"""Objects as files below a folder."""

import contextlib
import errno
import fcntl
import hashlib
import math
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import islice, takewhile
from pathlib import Path
from typing import IO, BinaryIO

from typing_extensions import override

from metseg.errors import NotFound, StoreUnavailable
from metseg.storage.base import CHUNK_BYTES, MARKER, ObjectInfo, ObjectStore, SizedStream, check_key, check_prefix

DAY_S = 86400
WITHOUT_TMPFILE = {errno.EOPNOTSUPP, errno.EISDIR}


class LocalFolderStore(ObjectStore):
    """Objects as files below one folder of a local file system.

    An object's etag is computed from its file's inode, time and size: each write creates a new file. No key may be both
    an object and the folder of others.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()

    @override
    def put(
        self,
        key: str,
        data: bytes | BinaryIO,
        *,
        size: int | None = None,
        content_type: str = "application/octet-stream",
    ) -> None:
        """See ObjectStore; a folder keeps no content type."""
        path = self._path(key)
        with self._new_file(path, SizedStream(data, size)) as link:
            scratch = path.with_name(f"~{secrets.token_hex(8)}")
            link(scratch)
            try:
                os.replace(scratch, path)
            except OSError:
                scratch.unlink()
                raise

    @override
    def create(self, key: str, data: bytes, *, content_type: str = "application/octet-stream") -> bool:
        """See ObjectStore."""
        path = self._path(key)
        with self._new_file(path, SizedStream(data, None)) as link:
            try:
                link(path)
            except FileExistsError:
                return False
        return True

    @contextlib.contextmanager
    def _new_file(self, path: Path, stream: SizedStream) -> Iterator[Callable[[Path], None]]:
        """A function that gives a complete file a name in the folder of `path`, which exists within the block."""
        self.check()  # where a volume is not mounted, do not create a new store
        with _write_errors(), self._scratch() as file:
            shutil.copyfileobj(stream, file, CHUNK_BYTES)
            file.flush()
            os.fsync(file.fileno())
            with self._folder_lock(fcntl.LOCK_SH):
                path.parent.mkdir(parents=True, exist_ok=True)
                yield partial(_link, file)
            _sync_folder(path.parent)

    def _scratch(self) -> IO[bytes]:
        """A new file without a name, so that nothing of it outlives this process.

        Where the file system cannot make one, it has a name that no key can have until it is closed.
        """
        try:
            return os.fdopen(os.open(self._root, os.O_TMPFILE | os.O_RDWR, 0o600), "w+b")
        except OSError as error:
            if error.errno not in WITHOUT_TMPFILE:
                raise
            return tempfile.NamedTemporaryFile(dir=self._root, prefix="~")

    @contextlib.contextmanager
    def _folder_lock(self, lock: int) -> Iterator[None]:
        """Keep apart creating folders, in which a file follows at once, and deleting empty ones.

        filelock has no shared locks, so this is flock itself.
        """
        descriptor = os.open(self._root, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, lock)
            yield
        finally:
            os.close(descriptor)

    @override
    def get(self, key: str, first: int = 0, size: int | None = None) -> bytes:
        """See ObjectStore."""
        with self._read_errors(key), self._path(key).open("rb") as file:
            file.seek(first)
            return file.read(size)

    @override
    @contextlib.contextmanager
    def stream(self, key: str, first: int = 0, size: int | None = None) -> Iterator[Iterator[bytes]]:
        """See ObjectStore."""
        with self._read_errors(key):
            file = self._path(key).open("rb")
            file.seek(first)
        with file:
            yield self._chunks(key, file, math.inf if size is None else size)

    def _chunks(self, key: str, file: BinaryIO, left: float) -> Iterator[bytes]:
        with self._read_errors(key):
            while chunk := file.read(int(min(left, CHUNK_BYTES))):
                left -= len(chunk)
                yield chunk

    @override
    def stat(self, key: str) -> ObjectInfo:
        """The metadata of the object; NotFound."""
        path = self._path(key)
        with self._read_errors(key):
            if not path.is_file():
                raise FileNotFoundError(key)
            return _file_info(key, path.stat())

    @override
    def list(self, prefix: str, *, before: str | None = None, limit: int | None = None) -> Iterator[ObjectInfo]:
        """See ObjectStore."""
        check_prefix(prefix)
        self.check()
        folder, _, _ = prefix.rpartition("/")
        with self._read_errors(prefix):
            found = takewhile(lambda info: before is None or info.key < before, self._walk(folder, prefix))
            yield from islice(found, limit)

    @override
    def folders(self, prefix: str, *, after: str = "") -> Iterator[str]:
        """See ObjectStore."""
        check_prefix(prefix)
        self.check()
        try:
            entries = list(os.scandir(self._root / prefix))
        except (FileNotFoundError, NotADirectoryError):
            return
        yield from sorted(entry.name for entry in entries if entry.name > after and entry.is_dir())

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

    @override
    def delete(self, prefix: str) -> None:
        """Delete the object and all objects below it, and folders that this leaves empty."""
        path = self._path(prefix)
        with _write_errors():
            if path.is_file():
                path.unlink(missing_ok=True)
            for info in self.list(f"{prefix}/"):
                (self._root / info.key).unlink(missing_ok=True)
            with self._folder_lock(fcntl.LOCK_EX):
                self._prune(path)

    @override
    def remove(self, keys: Sequence[str]) -> None:
        """See ObjectStore."""
        paths = [self._path(key) for key in keys]
        with _write_errors():
            for path in paths:
                path.unlink(missing_ok=True)
            with self._folder_lock(fcntl.LOCK_EX):
                for folder in {path.parent for path in paths}:
                    self._prune(folder)

    def _prune(self, path: Path) -> None:
        below = [Path(folder) for folder, _, _ in os.walk(path, topdown=False)]
        above = [folder for folder in path.parents if folder.is_relative_to(self._root) and folder != self._root]
        for folder in [*below, *above]:
            with contextlib.suppress(OSError):  # not empty, or gone
                folder.rmdir()

    @override
    def check(self) -> None:
        """Check that the folder was prepared and can be written."""
        if not (self._root / MARKER).is_file():
            raise StoreUnavailable("The store's folder is missing or another; is its disk mounted, has the set-up run?")
        if not os.access(self._root, os.R_OK | os.W_OK | os.X_OK):
            raise StoreUnavailable("The store's folder cannot be written; has the set-up run?")

    @override
    def free_bytes(self) -> int:
        """Free space on the folder's disk, bytes."""
        with _write_errors():
            return shutil.disk_usage(self._root).free

    @override
    @contextlib.contextmanager
    def reserve(self, size: int) -> Iterator[None]:
        """See ObjectStore."""
        with contextlib.ExitStack() as stack:
            with _write_errors():
                file = stack.enter_context(self._scratch())
                if size:
                    os.posix_fallocate(file.fileno(), 0, size)
            yield

    @override
    def prepare(self, job_days: int) -> None:
        """Create the folder, and delete what interrupted writes left. `Maintenance.expire` expires jobs and keys."""
        with _write_errors():
            self._root.mkdir(parents=True, exist_ok=True)
            for scratch in self._root.rglob("~*"):
                if scratch.stat().st_mtime < time.time() - DAY_S:
                    scratch.unlink(missing_ok=True)
            (self._root / MARKER).touch()

    def _path(self, key: str) -> Path:
        check_key(key)
        return self._root / key

    @contextlib.contextmanager
    def _read_errors(self, key: str) -> Iterator[None]:
        try:
            with _write_errors(FileNotFoundError, IsADirectoryError, NotADirectoryError):
                yield
        except OSError as error:
            self.check()  # without the root, nothing is known of the object
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


def _link(file: IO[bytes], path: Path) -> None:
    """Give a scratch file a name; FileExistsError."""
    descriptor = file.fileno()
    named = isinstance(file.name, str)
    source = file.name if named else f"/proc/self/fd/{descriptor}"
    os.link(source, path, src_dir_fd=descriptor)  # ignored, since `source` is absolute, but follows the link in /proc


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
