"""Studies in the file system: which files belong to one, how it is named, and how it is sent.

A study is a file (with its voxels, if it is the header of a MetaImage), a ZIP, or a folder. Of a folder all files are
sent except hidden ones, those of operating systems and DICOMDIR; folders or files named `pre`, `flair` and `post`
contain the sequences of these names.
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
from metseg.formats import base_name, is_system_file, metaimage_voxel_file, natural_key
from metseg.settings import Limits

__all__ = ["Attachment", "LocalStudy", "find_studies", "is_ignored", "open_study", "study_digest", "study_name"]

CHUNK_BYTES = 2**20
DICOM_INDEX = "dicomdir"
METAIMAGE_HEADER, METAIMAGE_HEADER_BYTES = ".mhd", 2**16
METAIMAGE_VOXELS = (".raw", ".zraw")
"""Suffixes of the files that a header may name: it may come from anybody, and what it names is sent."""
SUFFIXES = re.compile(r"(\.nii\.gz|\.[a-z0-9]{1,5})$", re.IGNORECASE)
ROLES: dict[str, Role] = {role: role for role in get_args(Role)}


class Attachment(NamedTuple):
    """A file to submit. A path is opened when it is sent; a stream must be seekable, so that it can be sent again."""

    name: str
    content: bytes | BinaryIO | Path
    role: Role | None = None


class LocalStudy(NamedTuple):
    """A study in the file system, and the name of its results."""

    name: str
    path: Path


def find_studies(paths: Sequence[Path]) -> list[LocalStudy]:
    """The studies at these paths, each once. Studies with equal names are distinguished by their folders.

    Raises:
        NotFound: a path does not exist.
        InvalidParameter: two studies have the same name whatever their folders.
    """
    unique = list(dict.fromkeys(path.absolute() for path in paths))
    for path in unique:
        if not path.exists():
            raise NotFound(f"There is no file or folder {path}.")
    names = {path: study_name(path) for path in unique}
    depth = 1
    while len(set(names.values())) < len(names):
        depth += 1
        taken = list(names.values())
        names = {path: study_name(path, depth) if taken.count(name) > 1 else name for path, name in names.items()}
        if depth > max(len(path.parts) for path in unique):
            raise InvalidParameter("Two studies have the same name; segment them separately, with different --out.")
    return [LocalStudy(name, path) for path, name in names.items()]


def study_name(path: Path, depth: int = 1) -> str:
    """The name of a study's results.

    Args:
        path: of the study.
        depth: how many parts of the path the name consists of, counted from its end.

    Returns:
        These parts without the suffix.
    """
    last = path.name if path.is_dir() else SUFFIXES.sub("", path.name) or path.name
    parts = [*path.parts[-depth:-1], last] if depth > 1 else [last]
    return base_name("-".join(part.strip("/") for part in parts)).lstrip(".") or "study"


@contextmanager
def open_study(path: Path, ignored_name: str | None = None) -> Iterator[list[Attachment]]:
    """The files of a study, or a ZIP of them if they are more than a submission may have; one for each sequence.

    Args:
        path: of a file or a folder.
        ignored_name: of a file in the folder that does not belong to the study.

    Yields:
        What is sent; a ZIP exists only within the block.

    Raises:
        EmptyUpload: a folder without files.
        UnreadableImage: a file that cannot be read or has been deleted.
    """
    try:
        if not path.is_dir():
            yield [Attachment(base_name(file.name), file) for file in _with_voxels(path)]
            return
        files = [file for file in _list_files(path) if file.name != ignored_name]
        if not files:
            raise EmptyUpload("The folder contains no files; name one with the slices of a study.")
        attachments = _by_role(path, files) or [Attachment(base_name(file.name), file) for file in files]
        if len(files) <= Limits().files:
            yield attachments
            return
        by_role: dict[Role | None, list[Path]] = {}
        for file, attachment in zip(files, attachments, strict=True):
            by_role.setdefault(attachment.role, []).append(file)
        with TemporaryDirectory(prefix="metseg-") as folder:
            yield [_packed(path, role, series, Path(folder)) for role, series in by_role.items()]
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise UnreadableImage("A file of the study cannot be read or has been deleted; check its folder.") from error


def study_digest(attachments: Sequence[Attachment]) -> str:
    """A SHA-256 that identifies equal studies: of the names, roles and contents of their files."""
    total = hashlib.sha256()
    for attachment in attachments:
        with _open(attachment.content) as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]
        total.update(f"{attachment.role}\0{attachment.name}\0{sha256}\n".encode())
    return total.hexdigest()


@contextmanager
def _open(content: bytes | BinaryIO | Path) -> Iterator[BinaryIO]:
    """A stream from its start; a stream that is already open stays open and is rewound."""
    if isinstance(content, Path):
        with content.open("rb") as file:
            yield file
        return
    stream = BytesIO(content) if isinstance(content, bytes) else content
    stream.seek(0)
    yield stream
    stream.seek(0)


def _list_files(folder: Path) -> list[Path]:
    """The files in a folder and its subfolders, in natural order."""
    found = [
        path
        for path in folder.rglob("*")
        if path.is_file() and not any(map(is_ignored, path.relative_to(folder).parts))
    ]
    return sorted(found, key=lambda path: natural_key(path.relative_to(folder).as_posix()))


def is_ignored(name: str) -> bool:
    """Whether a file or folder never belongs to a study: system files, and the index of a DICOM medium."""
    return is_system_file(name) or name.casefold() == DICOM_INDEX


def _with_voxels(path: Path) -> list[Path]:
    """A file, and the one next to it that has its voxels, if it is the header of a MetaImage."""
    if path.suffix.lower() != METAIMAGE_HEADER:
        return [path]
    with path.open("rb") as file:
        name, _ = metaimage_voxel_file(file.read(METAIMAGE_HEADER_BYTES)) or ("", 0)
    voxels = path.parent / name
    is_next_to_it = name == Path(name).name and voxels.is_file()
    return [path, voxels] if is_next_to_it and voxels.suffix.lower() in METAIMAGE_VOXELS else [path]


def _by_role(folder: Path, files: Sequence[Path]) -> list[Attachment]:
    """The files with their sequences; empty unless the name or folder of every file is that of a sequence."""
    roles = [_role(path.relative_to(folder)) for path in files]
    if None in roles:
        return []
    return [Attachment(base_name(path.name), path, role) for path, role in zip(files, roles, strict=True)]


def _role(path: Path) -> Role | None:
    first = path.parts[0] if len(path.parts) > 1 else SUFFIXES.sub("", path.name)
    return ROLES.get(first.lower())


def _packed(study: Path, role: Role | None, files: Sequence[Path], folder: Path) -> Attachment:
    """A sequence of a study, or all of it, as a ZIP in `folder`."""
    name = role or base_name(study.name)
    return Attachment(f"{name}.zip", _zip(study, files, folder / f"{role}.zip"), role)


def _zip(folder: Path, files: Sequence[Path], target: Path) -> Path:
    """A ZIP of the files; equal files give equal bytes, dated 1980."""
    with ZipFile(target, "w", ZIP_STORED) as archive:
        for path in files:
            info = ZipInfo(path.relative_to(folder).as_posix())
            with path.open("rb") as source, archive.open(info, "w", force_zip64=True) as member:
                while chunk := source.read(CHUNK_BYTES):
                    member.write(chunk)
    return target
