"""Studies in the file system: which files are one, what they are called, and how they are sent.

A study is a file, a ZIP, or a folder. Of a folder all files are taken that are neither hidden nor left by an operating
system; folders or files called `pre`, `flair` and `post` name the sequences that they hold.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO, NamedTuple, get_args
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from metseg.contracts import Role
from metseg.errors import EmptyUpload, InvalidParameter, NotFound, UnreadableImage

__all__ = ["Attachment", "Study", "base_name", "digest", "find", "is_litter", "opened", "study_name"]

LONGEST_NAME = 200
MOST_FILES = 100
"""Of more files an archive is made: a request may have 128."""
CHUNK_BYTES = 2**20
ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
LITTER = {"thumbs.db", "desktop.ini", "__macosx", "dicomdir"}
SUFFIXES = re.compile(r"(\.nii\.gz|\.[a-z0-9]{1,5})$", re.IGNORECASE)
DIGITS = re.compile("([0-9]+)")
ROLES: dict[str, Role] = {role: role for role in get_args(Role)}


class Attachment(NamedTuple):
    """A file to submit. A path is opened when it is sent; a stream has to be seekable, so that it can be sent again."""

    name: str
    content: bytes | BinaryIO | Path
    role: Role | None = None


class Study(NamedTuple):
    """One study, and what its results are called."""

    name: str
    path: Path


def find(paths: Sequence[Path]) -> list[Study]:
    """The studies at these paths, each once. Those of one name are told apart by the folders that they lie in.

    Raises:
        NotFound: there is nothing at a path.
    """
    whole = list(dict.fromkeys(path.absolute() for path in paths))
    for path in whole:
        if not path.exists():
            raise NotFound(f"There is no file or folder {path}.")
    names = {path: study_name(path) for path in whole}
    depth = 1
    while len(set(names.values())) < len(names):
        depth += 1
        taken = list(names.values())
        names = {path: study_name(path, depth) if taken.count(name) > 1 else name for path, name in names.items()}
        if depth > max(len(path.parts) for path in whole):
            raise InvalidParameter("Two studies have the same name; give them to two runs with an --out of their own.")
    return [Study(name, path) for path, name in names.items()]


def study_name(path: Path, depth: int = 1) -> str:
    """What the results of a study are called: the last `depth` parts of its path without its suffix."""
    last = path.name if path.is_dir() else SUFFIXES.sub("", path.name) or path.name
    parts = [*path.parts[-depth:-1], last] if depth > 1 else [last]
    return base_name("-".join(part.strip("/") for part in parts)).lstrip(".") or "study"


@contextmanager
def opened(path: Path, leave_out: str | None = None) -> Iterator[list[Attachment]]:
    """What is sent of a study: its files, or an archive of them where they are many. It is there within the block.

    Args:
        path: of a file or a folder.
        leave_out: the name of a file in the folder that is none of the study's.

    Raises:
        EmptyUpload: a folder without files.
        UnreadableImage: a file that may not be read, or is gone.
    """
    try:
        if not path.is_dir():
            yield [Attachment(base_name(path.name), path)]
            return
        files = [file for file in _files(path) if file.name != leave_out]
        if not files:
            raise EmptyUpload("The folder holds no file; name one with the slices of a study.")
        attachments = _by_role(path, files) or [Attachment(base_name(file.name), file) for file in files]
        if len(files) <= MOST_FILES or attachments[0].role is not None:
            yield attachments
            return
        with TemporaryDirectory(prefix="metseg-") as folder:
            yield [Attachment(f"{base_name(path.name)}.zip", _packed(path, files, Path(folder) / "study.zip"))]
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise UnreadableImage("A file of the study cannot be read, or has gone; look at its folder.") from error


def digest(attachments: Sequence[Attachment]) -> str:
    """What makes two submissions the same: the names, roles and bytes of their files."""
    total = hashlib.sha256()
    for attachment in attachments:
        with _read(attachment.content) as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]
        total.update(f"{attachment.role}\0{attachment.name}\0{sha256}\n".encode())
    return total.hexdigest()


@contextmanager
def _read(content: bytes | BinaryIO | Path) -> Iterator[BinaryIO]:
    """A stream of it from its begin; what was opened before stays open."""
    if isinstance(content, Path):
        with content.open("rb") as file:
            yield file
        return
    stream = BytesIO(content) if isinstance(content, bytes) else content
    stream.seek(0)
    yield stream
    stream.seek(0)


def base_name(name: str) -> str:
    """What a user called a file, without folders and control characters, of bounded length."""
    base = re.split(r"[/\\]", name)[-1]
    printable = "".join(character for character in base if character.isprintable()).strip()
    return printable[-LONGEST_NAME:] or "unnamed"


def _files(folder: Path) -> list[Path]:
    """The files in and below a folder, in the order of the numbers in their names."""
    found = [
        path for path in folder.rglob("*") if path.is_file() and not any(map(is_litter, path.relative_to(folder).parts))
    ]
    return sorted(found, key=lambda path: _natural(path.relative_to(folder).as_posix()))


def is_litter(name: str) -> bool:
    """Whether a file or folder is hidden, or was left by an operating system."""
    return name.startswith(".") or name.lower() in LITTER


def _natural(name: str) -> tuple[tuple[str | tuple[int, str], ...], str]:
    """A sort key that orders the numbers in names by value; as of `metseg.formats`, which needs imaging libraries."""
    parts: list[str | tuple[int, str]] = []
    for index, part in enumerate(DIGITS.split(name.casefold())):
        digits = part.lstrip("0")
        parts.append((len(digits), digits) if index % 2 else part)
    return tuple(parts), name


def _by_role(folder: Path, files: Sequence[Path]) -> list[Attachment]:
    """The files with their sequences; none where not each file lies in a folder, or has a name, that names one."""
    roles = [_role(path.relative_to(folder)) for path in files]
    if None in roles:
        return []
    return [Attachment(base_name(path.name), path, role) for path, role in zip(files, roles, strict=True)]


def _role(path: Path) -> Role | None:
    first = path.parts[0] if len(path.parts) > 1 else SUFFIXES.sub("", path.name)
    return ROLES.get(first.lower())


def _packed(folder: Path, files: Sequence[Path], target: Path) -> Path:
    """A ZIP of the files, whose bytes are the same whenever they are."""
    with ZipFile(target, "w", ZIP_STORED) as archive:
        for path in files:
            info = ZipInfo(path.relative_to(folder).as_posix(), ZIP_EPOCH)
            with path.open("rb") as source, archive.open(info, "w", force_zip64=True) as member:
                while chunk := source.read(CHUNK_BYTES):
                    member.write(chunk)
    return target
