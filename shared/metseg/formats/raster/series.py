"""From uploads to series: which files make up a study, in which order, and whether they fit together."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from metseg.contracts import Role
from metseg.errors import (
    BadArchive,
    EmptyUpload,
    MixedSizes,
)
from metseg.formats.archive import Archive, check_one_folder
from metseg.formats.limits import check_stack
from metseg.formats.names import natural_key, page_stems, unique, without_masks
from metseg.formats.raster import pages as raster
from metseg.formats.raster.decoders import Depth, Page, Pixels
from metseg.formats.sniff import Kind, sniff
from metseg.formats.study import Opener, Upload, check_alone, rewound
from metseg.settings import Limits

__all__ = ["Series", "gather"]


class _File(NamedTuple):
    """A picture file with the pages that its header tells."""

    name: str
    kind: Kind
    pages: list[Page]
    open: Opener


@dataclass(frozen=True)
class Series:
    """Slices that fit together, in natural order.

    Attributes:
        files: one or more; with several pages only if alone.
        masks: how many masks beside their images were left out.
        source: `png`, `jpeg`, `tiff`, `zip`, or several of them joined by `+`.
    """

    files: tuple[_File, ...]
    masks: int
    source: str

    @property
    def pages(self) -> list[Page]:
        """The slices."""
        return [page for file in self.files for page in file.pages]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows and columns."""
        pages = self.pages
        return len(pages), pages[0].rows, pages[0].columns

    @property
    def depth(self) -> Depth:
        """The type of the pixels."""
        return self.files[0].pages[0].depth

    @property
    def names(self) -> tuple[str, ...]:
        """One stem a slice, unique."""
        return unique(stem for file in self.files for stem in page_stems(file.name, len(file.pages)))

    def decode(self) -> Iterator[Pixels]:
        """The pixels of each slice, (row, column) or (row, column, 3).

        Raises:
            UnreadableImage: a file is damaged.
        """
        for file in self.files:
            with file.open() as stream:
                yield from raster.decode(file.kind, stream, file.pages)


def gather(uploads: Sequence[Upload], limits: Limits) -> Mapping[Role | None, Series]:
    """The series of a study, by role, or the only one by None; all of one shape.

    Raises:
        BadInput: one of its kinds, whichever fits; told from headers alone.
    """
    roles = {upload.role for upload in uploads}
    study = {role: _series([upload for upload in uploads if upload.role == role], limits) for role in roles}
    if len({series.shape for series in study.values()}) > 1:
        raise MixedSizes("The series of the study differ in their number of slices or in size; send matching ones.")
    return study


def _series(uploads: Sequence[Upload], limits: Limits) -> Series:
    kinds = [sniff(upload.stream) for upload in uploads]
    if "zip" in kinds:
        series = _from_archive(uploads, kinds, limits)
    else:
        ordered = sorted(uploads, key=lambda upload: natural_key(upload.name))
        slices = [ordered[index] for index in without_masks([upload.name for upload in ordered])]
        files = _files([(upload.name, partial(rewound, upload.stream)) for upload in slices], limits)
        source = "+".join(sorted({file.kind for file in files}))
        series = Series(files, len(uploads) - len(slices), source)
    _check_fit(series, limits)
    return series


def _from_archive(uploads: Sequence[Upload], kinds: Sequence[Kind], limits: Limits) -> Series:
    check_alone(kinds.count("zip"), len(uploads))
    archive = Archive(uploads[0].stream, limits)
    kept = without_masks(archive.names)
    check_one_folder([archive.names[index] for index in kept])
    files = _files([(archive.names[index], partial(archive.open, index)) for index in kept], limits)
    return Series(files, len(archive.names) - len(kept), "zip")


def _files(sources: Sequence[tuple[str, Opener]], limits: Limits) -> tuple[_File, ...]:
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


def _file(name: str, opener: Opener, limits: Limits) -> _File:
    with opener() as stream:
        if not stream.read(1):
            raise EmptyUpload("A file in the archive has no bytes; export it again.")
        kind = sniff(stream)
        if kind == "zip":
            raise BadArchive("An archive within an archive is not opened; zip the slices themselves.")
        return _File(name, kind, raster.pages(kind, stream, limits), opener)


def _check_fit(series: Series, limits: Limits) -> None:
    """Refuse slices that are no stack, and stacks that are too large."""
    if len({(page.rows, page.columns) for page in series.pages}) > 1:
        raise MixedSizes("The slices differ in size; send the slices of one series.")
    if len({page.depth for page in series.pages}) > 1:
        raise MixedSizes("The slices differ in bits a sample; export all of them in the same way.")
    check_stack(series.shape, limits)
