"""From uploads to series: which files make up a study, in which order, and whether they match."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import PurePosixPath
from typing import NamedTuple, cast

from metseg.contracts import IdentifiedBy, Role
from metseg.errors import (
    BadArchive,
    EmptyUpload,
    MixedSizes,
    UnsupportedFormat,
)
from metseg.formats.archive import Archive, check_one_scan
from metseg.formats.limits import check_stack
from metseg.formats.names import exclude_masks, natural_key, page_stems, unique_names
from metseg.formats.raster.decoders import Page, PixelType
from metseg.formats.raster.pages import decode_pages, read_pages
from metseg.formats.roles import UNUSED_SEQUENCES, NamedSequence, refuse_unused, sequence_from_name
from metseg.formats.sniff import HEAD_BYTES, Kind, detect_kind, detect_kind_of_stream
from metseg.formats.study import Opener, Upload, check_single_archive, rewind
from metseg.imaging import Array, Shape
from metseg.settings import Limits

__all__ = ["RasterSeries", "group_series"]

DOCUMENTS = (".csv", ".html", ".json", ".log", ".md", ".pdf", ".rst", ".tsv", ".txt", ".xml", ".yaml", ".yml")


class _RasterFile(NamedTuple):
    """An image file with the pages in its header."""

    name: str
    kind: Kind
    pages: list[Page]
    open: Opener


@dataclass(frozen=True)
class RasterSeries:
    """Slices of one size and type, in natural order.

    Attributes:
        files: one or more; a file of several pages is the only one.
        excluded_masks: how many masks of these images were left out.
        source: `png`, `jpeg`, `tiff`, `zip`, or several of them joined by `+`.
        warnings: sentences on what was left out.
        identified_by: what decided its role, if it has one.
    """

    files: tuple[_RasterFile, ...]
    excluded_masks: int
    source: str
    warnings: tuple[str, ...] = ()
    identified_by: IdentifiedBy = "stated"

    @property
    def pages(self) -> list[Page]:
        """The slices."""
        return [page for file in self.files for page in file.pages]

    @property
    def shape(self) -> Shape:
        """Slices, rows and columns."""
        pages = self.pages
        return len(pages), pages[0].rows, pages[0].columns

    @property
    def dtype(self) -> PixelType:
        """Of the pixels."""
        return self.files[0].pages[0].dtype

    @property
    def names(self) -> tuple[str, ...]:
        """One unique stem per slice."""
        return unique_names(stem for file in self.files for stem in page_stems(file.name, len(file.pages)))

    def decode(self) -> Iterator[Array]:
        """Decode each slice, (row, column) or (row, column, 3).

        Raises:
            UnreadableImage: a file is damaged.
        """
        for file in self.files:
            with file.open() as stream:
                yield from decode_pages(file.kind, stream, file.pages)


def group_series(
    uploads: Sequence[Upload], limits: Limits, stated: Role | None = None
) -> Mapping[Role | None, RasterSeries]:
    """Group uploads into series by their headers.

    Args:
        uploads: of the study.
        limits: of one submission.
        stated: the sequence of a single series, according to its submitter; its names are not checked.

    Returns:
        The series by role, or a single one by None; all of one shape.

    Raises:
        BadInput: one of its subclasses.
    """
    roles = {upload.role for upload in uploads}
    study: dict[Role | None, RasterSeries] = {}
    for role in roles:
        study |= _series(role, [upload for upload in uploads if upload.role == role], limits, stated)
    for series in study.values():
        _check_series(series, limits)
    if len({series.shape for series in study.values()}) > 1:
        raise MixedSizes("The series of the study differ in their number of slices or in size; send matching ones.")
    return study


def _series(
    role: Role | None, uploads: Sequence[Upload], limits: Limits, stated: Role | None
) -> dict[Role | None, RasterSeries]:
    """The series of one field, or those of an archive with a folder for each."""
    kinds = [detect_kind_of_stream(upload.stream) for upload in uploads]
    if "zip" in kinds:
        check_single_archive(kinds.count("zip"), len(uploads))
        return _from_archive(role, Archive(uploads[0].stream, limits), limits, stated)
    ordered = sorted(uploads, key=lambda upload: natural_key(upload.name))
    slices = [ordered[index] for index in exclude_masks([upload.name for upload in ordered])]
    _check_names([upload.name for upload in slices], role or stated)
    files = _files([(upload.name, partial(rewind, upload.stream)) for upload in slices], limits)
    source = "+".join(sorted({file.kind for file in files}))
    return {role: RasterSeries(files, len(uploads) - len(slices), source)}


def _from_archive(
    role: Role | None, archive: Archive, limits: Limits, stated: Role | None
) -> dict[Role | None, RasterSeries]:
    documents = [index for index, name in enumerate(archive.names) if _is_document(archive, index, name)]
    images = sorted(set(range(len(archive.names))) - set(documents))
    if not images:
        raise UnsupportedFormat("The archive holds no image; zip the slices of one patient.")
    warnings = []
    if documents:
        suffixes = sorted({PurePosixPath(archive.names[index]).suffix.lower() or "README" for index in documents})
        warnings.append(
            f"Files of the archive that are not images were left out: {len(documents)} ({', '.join(suffixes)})."
        )
    kept = [images[index] for index in exclude_masks([archive.names[index] for index in images])]
    folders = _folders_by_role([archive.names[index] for index in kept]) if role is None else {}
    masks = len(images) - len(kept)
    identified_by: IdentifiedBy = "name" if folders else "stated"
    if not folders:
        _check_names([archive.names[index] for index in kept], role or stated)
        folders = {str(PurePosixPath(archive.names[index]).parent): role for index in kept}
    unused = [name for name in folders.values() if name in UNUSED_SEQUENCES]
    if {"t2", "other"}.intersection(unused):
        warnings.append("A folder of T2 images, or of others that the model does not use, was left out.")
    study: dict[Role | None, RasterSeries] = {}
    for folder, found in folders.items():
        members = [index for index in kept if str(PurePosixPath(archive.names[index]).parent) == folder]
        if found == "mask":
            masks += len(members)
        elif found not in UNUSED_SEQUENCES:
            files = _files([(archive.names[index], partial(archive.open, index)) for index in members], limits)
            study[cast(Role | None, found)] = RasterSeries(files, 0, "zip", tuple(warnings), identified_by)
    first = next(iter(study))
    study[first] = replace(study[first], excluded_masks=masks)
    return study


def _folders_by_role(names: Sequence[str]) -> dict[str, NamedSequence | None]:
    """The sequence of each folder by its name; empty where these are not the folders of one study."""
    folders = {PurePosixPath(name).parent for name in names}
    roles = {str(folder): sequence_from_name(folder.name) for folder in folders}
    used = [role for role in roles.values() if role not in UNUSED_SEQUENCES]
    one_study = len(folders) > 1 and len({folder.parent for folder in folders}) == 1
    told_apart = used and len(set(used)) == len(used) and (None not in used or len(used) == 1)
    return dict(sorted(roles.items())) if one_study and told_apart else {}


def _is_document(archive: Archive, index: int, name: str) -> bool:
    """Whether a member is text that accompanies images; anything else that is not an image is refused."""
    path = PurePosixPath(name)
    named = path.suffix.lower() in DOCUMENTS or path.name.casefold() in ("readme", "license")
    return named and detect_kind(archive.peek(index, HEAD_BYTES)) is None


def _check_names(names: Sequence[str], role: Role | None) -> None:
    """Refuse slices whose names say that they are of several scans, or not an image that the model uses."""
    check_one_scan([name.replace("\\", "/") for name in names])
    if role is None:
        refuse_unused(names)


def _files(sources: Sequence[tuple[str, Opener]], limits: Limits) -> tuple[_RasterFile, ...]:
    files = []
    for name, opener in sources:
        file = _file(name, opener, limits)
        if len(file.pages) > 1 and len(sources) > 1:
            raise MixedSizes(
                "Files with several pages were sent among others; send one such file alone, or each series in its "
                "field pre, flair or post."
            )
        files.append(file)
    return tuple(files)


def _file(name: str, opener: Opener, limits: Limits) -> _RasterFile:
    with opener() as stream:
        if not stream.read(1):
            raise EmptyUpload("A file in the archive has no bytes; export it again.")
        kind = detect_kind_of_stream(stream)
        if kind == "zip":
            raise BadArchive("An archive within an archive is not opened; zip the slices themselves.")
        return _RasterFile(name, kind, read_pages(kind, stream, limits), opener)


def _check_series(series: RasterSeries, limits: Limits) -> None:
    """Refuse slices of different sizes or types, and stacks that are too large."""
    if len({(page.rows, page.columns) for page in series.pages}) > 1:
        raise MixedSizes("The slices differ in size; send the slices of one series.")
    if len({page.dtype for page in series.pages}) > 1:
        raise MixedSizes("The slices differ in bits per sample; export all of them in the same way.")
    check_stack(series.shape, limits)
