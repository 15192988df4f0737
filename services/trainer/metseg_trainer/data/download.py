"""Download the public data set: resumed where it was interrupted, checked, and in place only when complete."""

import hashlib
import shutil
import stat
import time
import zipfile
import zlib
from pathlib import Path, PurePosixPath

import httpx
from tqdm import tqdm

from metseg.atomic_io import atomic_write_bytes
from metseg.errors import DatasetError

__all__ = ["DATA_URL", "download_dataset", "extract", "fetch"]

DATA_URL = "https://dicom5c.blob.core.windows.net/public/Data.zip"
INSTEAD = (
    "If this machine has no access to it, download the archive elsewhere, unpack it and mount the folder: "
    "DATA_DIR=/path/to/folder docker compose run trainer, or metseg-trainer --data /path/to/folder."
)
ATTEMPTS = 5
CHUNK_BYTES = 2**20
MAX_MEMBERS = 200_000
MAX_BYTES = 32 * 2**30
FINAL_STATUS = range(400, 500)
HTTP_PARTIAL, HTTP_RANGE_WRONG = 206, 416


class _Interrupted(Exception):
    """The body ended before the length that the server announced."""


def download_dataset(folder: Path, url: str = DATA_URL, *, pause_s: float = 2.0) -> Path:
    """Download the archive at `url` and unpack it into `folder`.

    The publisher names no checksum. The first download is recorded in `<archive>.sha256`, as `sha256sum` writes it, and
    every later one must equal it; so must the first, if a copy of another machine's record is there.

    Args:
        folder: created where absent; an interrupted download in it is resumed.
        url: of a ZIP archive.
        pause_s: before the second attempt; doubled for each further one.

    Returns:
        The folder with the data, named as the archive.

    Raises:
        DatasetError: the archive cannot be downloaded, is damaged, unsafe or not the recorded one, or the folder
            cannot be written.
    """
    name = PurePosixPath(httpx.URL(url).path).name or "Data.zip"
    target = folder / Path(name).stem
    try:
        folder.mkdir(parents=True, exist_ok=True)
        archive = fetch(url, folder / name, pause_s=pause_s)
        digest = _verified_sha256(archive)
        extract(archive, target)
        atomic_write_bytes(_record(archive), f"{digest}  {name}\n".encode())
        archive.unlink()
    except OSError as error:
        raise DatasetError(f"The data cannot be written to {folder} ({error.strerror}). {INSTEAD}") from error
    return target


def fetch(url: str, path: Path, *, pause_s: float = 2.0) -> Path:
    """Download `url` to `path`, which exists only when it is complete.

    What was received is in `<name>.part` in the same folder, and the server's ETag of that version in `<name>.etag`: a
    later call continues from there if the server can and still has that version, and starts again if not.

    Args:
        url: of any file.
        path: of the file.
        pause_s: before the second attempt; doubled for each further one.

    Returns:
        `path`.

    Raises:
        DatasetError: some attempts did not complete the file, or the server refuses.
    """
    timeout = httpx.Timeout(30.0, connect=10.0)
    reason = ""
    with httpx.Client(follow_redirects=True, timeout=timeout) as client:
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(pause_s * 2 ** (attempt - 1))
            try:
                _attempt(client, url, path)
            except httpx.HTTPStatusError as error:
                reason = f"the server answered {error.response.status_code}"
                if error.response.status_code in FINAL_STATUS:
                    break
            except httpx.TransportError as error:
                reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            except _Interrupted:
                reason = "the connection was lost"
            else:
                return path
    kept = " What was received is kept: run this again to continue." if _part(path).exists() else ""
    raise DatasetError(f"{url} could not be downloaded ({reason}).{kept} {INSTEAD}")


def extract(archive: Path, target: Path) -> None:
    """Unpack an archive and verify every member's checksum.

    Args:
        archive: a ZIP file.
        target: folder, which appears complete or not at all.

    Raises:
        DatasetError: the archive is damaged (it is removed then), or a member of it is unsafe, or `target` exists.
    """
    if target.exists():
        raise DatasetError(f"{target} exists already; remove it to unpack the archive again.")
    parts = target.with_name(f".{target.name}.unpacking")
    shutil.rmtree(parts, ignore_errors=True)
    try:
        with zipfile.ZipFile(archive) as packed:
            members = _safe_members(packed)
            for member in tqdm(members, desc="Unpacking", unit="file", disable=None):
                packed.extract(member, parts)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        archive.unlink()
        raise DatasetError(f"{archive.name} is damaged ({error}) and was removed; run this again.") from error
    else:
        parts.rename(target)
    finally:
        shutil.rmtree(parts, ignore_errors=True)


def _verified_sha256(archive: Path) -> str:
    """The checksum of an archive, which must be the recorded one if there is a record."""
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    record = _record(archive)
    if record.exists() and record.read_text(encoding="utf-8").split()[:1] != [digest]:
        archive.unlink()
        raise DatasetError(
            f"{archive.name} has the sha256 {digest}, not the one in {record.name}, and was removed. Only if the "
            "publisher has changed the data on purpose, delete that file and run this again."
        )
    return digest


def _record(archive: Path) -> Path:
    return archive.with_name(archive.name + ".sha256")


def _attempt(client: httpx.Client, url: str, path: Path) -> None:
    """One request: the whole file, or the rest of it."""
    part, mark = _part(path), path.with_name(path.name + ".etag")
    have = part.stat().st_size if part.exists() and mark.exists() else 0
    # Without the ETag, parts of two versions might be joined into one file.
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": mark.read_text()}
    with client.stream("GET", url, headers=headers) as response:
        if response.status_code == HTTP_RANGE_WRONG:
            part.unlink()
            raise _Interrupted
        response.raise_for_status()
        resumed = response.status_code == HTTP_PARTIAL and _starts_at(response) == have
        if response.status_code == HTTP_PARTIAL and not resumed:
            part.unlink()
            raise _Interrupted
        have = have if resumed else 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        _remember(response, mark)
        _save(response, part, have, total)
    if total is not None and part.stat().st_size != total:
        raise _Interrupted
    part.replace(path)
    mark.unlink(missing_ok=True)


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def _save(response: httpx.Response, part: Path, have: int, total: int | None) -> None:
    bar = tqdm(desc="Downloading", total=total, initial=have, unit="B", unit_scale=True, disable=None)
    with bar, part.open("ab" if have else "wb") as file:
        for chunk in response.iter_bytes(CHUNK_BYTES):
            file.write(chunk)
            bar.update(len(chunk))


def _starts_at(response: httpx.Response) -> int | None:
    """The offset of a partial response, from `Content-Range: bytes 100-199/200`."""
    first = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    return int(first) if first.isdigit() else None


def _remember(response: httpx.Response, mark: Path) -> None:
    """Store the ETag of this version of the file; a weak one does not promise equal bytes (RFC 9110, 13.1.5)."""
    etag = response.headers.get("ETag", "")
    version = response.headers.get("Last-Modified", "") if etag.startswith("W/") or not etag else etag
    mark.unlink(missing_ok=True)
    if version:
        mark.write_text(version)


def _safe_members(packed: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The files of an archive, all of them plain files inside the folder."""
    members = packed.infolist()
    if len(members) > MAX_MEMBERS or sum(member.file_size for member in members) > MAX_BYTES:
        raise DatasetError(f"The archive would expand beyond {MAX_MEMBERS} files or {MAX_BYTES // 2**30} GiB.")
    for member in members:
        path = PurePosixPath(member.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in member.filename:
            raise DatasetError("The archive names files outside itself and was not unpacked; use another one.")
        if stat.S_ISLNK(member.external_attr >> 16) or member.flag_bits & 1:
            raise DatasetError("The archive holds links or encrypted files and was not unpacked; use another one.")
    return [member for member in members if not member.is_dir()]
