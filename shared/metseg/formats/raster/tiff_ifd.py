"""The structure of a TIFF: its directories of tags, walked in bounded steps whatever the bytes are.

Only the tags that tell how a page is laid out are read; pixels are never touched. The same structure holds
a JPEG's EXIF data.
"""

import struct
from collections.abc import Iterator, Mapping
from enum import IntEnum
from typing import BinaryIO, NamedTuple

from metseg.errors import TooManyFiles, UnreadableImage

__all__ = ["Directory", "Tag", "directories", "point_to"]

MOST_ENTRIES = 512
MOST_VALUES = 16
LAST_OFFSET = 2**40  # beyond it, some file systems refuse to seek
INTEGERS = {1: "B", 3: "H", 4: "I", 16: "Q"}


class Tag(IntEnum):
    """The tags that matter here, by their names in TIFF 6.0."""

    SUBFILE_TYPE = 254
    WIDTH = 256
    LENGTH = 257
    BITS_PER_SAMPLE = 258
    COMPRESSION = 259
    PHOTOMETRIC = 262
    ORIENTATION = 274
    SAMPLES_PER_PIXEL = 277
    PLANAR_CONFIGURATION = 284
    TILE_WIDTH = 322
    TILE_LENGTH = 323
    SAMPLE_FORMAT = 339


WANTED = frozenset(Tag)


class _Layout(NamedTuple):
    """How a classic TIFF or a BigTIFF packs its numbers."""

    order: str
    offset: str
    entries: str
    entry: str
    inline_bytes: int
    first: int

    @classmethod
    def of(cls, head: bytes) -> "_Layout":
        order = "<" if head[:1] == b"I" else ">"
        if b"+" in head[2:4]:
            return cls(order, "Q", "Q", "HHQ8s", 8, 8)
        return cls(order, "I", "H", "HHI4s", 4, 4)


class Directory(NamedTuple):
    """One directory: usually a page.

    Attributes:
        offset: where in the file it begins.
        tags: the values of each `Tag` that is present.
    """

    offset: int
    tags: Mapping[Tag, tuple[int, ...]]

    def value(self, tag: Tag, default: int) -> int:
        """The tag's first value."""
        return self.tags.get(tag, (default,))[0]

    @property
    def orientation(self) -> int:
        """How the picture is turned, as EXIF numbers it; 1 is upright, also where nothing fits is told."""
        orientation = self.value(Tag.ORIENTATION, 1)
        return orientation if orientation in range(1, 9) else 1


def directories(stream: BinaryIO, most: int) -> Iterator[Directory]:
    """The directories of a file in their order.

    Raises:
        UnreadableImage: the structure is damaged or runs in a circle.
        TooManyFiles: there are more than `most`.
    """
    layout = _Layout.of(_take(stream, 0, 4))
    offset = _number(stream, layout.first, layout.order + layout.offset)
    seen: set[int] = set()
    while offset:
        if offset in seen:
            raise UnreadableImage("A TIFF is damaged: its pages run in a circle.")
        if len(seen) == most:
            raise TooManyFiles(f"A TIFF has more than {most} pages; upload one study at a time.")
        seen.add(offset)
        directory, offset = _directory(stream, offset, layout)
        yield directory


def point_to(buffer: memoryview, offset: int) -> None:
    """Let a TIFF in memory begin with the directory at `offset`."""
    layout = _Layout.of(bytes(buffer[:4]))
    struct.pack_into(layout.order + layout.offset, buffer, layout.first, offset)


def _directory(stream: BinaryIO, offset: int, layout: _Layout) -> tuple[Directory, int]:
    """The directory at `offset`, and where the next one is (0: none)."""
    entries = _number(stream, offset, layout.order + layout.entries)
    if not 0 < entries <= MOST_ENTRIES:
        raise UnreadableImage(f"A TIFF is damaged: a page has {entries} tags.")
    start = offset + struct.calcsize(layout.order + layout.entries)
    entry = struct.Struct(layout.order + layout.entry)
    block = _take(stream, start, entries * entry.size)
    tags: dict[Tag, tuple[int, ...]] = {}
    for number, type_, count, field in entry.iter_unpack(block):
        if number not in WANTED:
            continue
        if number in tags:  # decoders disagree on which one counts
            raise UnreadableImage("A TIFF is damaged: a page tells its layout twice.")
        tags[Tag(number)] = _values(stream, type_, count, field, layout)
    return Directory(offset, tags), _number(stream, start + len(block), layout.order + layout.offset)


def _values(stream: BinaryIO, type_: int, count: int, field: bytes, layout: _Layout) -> tuple[int, ...]:
    """A tag's values, which lie in its field or, if too long, where the field points to."""
    if type_ not in INTEGERS or not 0 < count <= MOST_VALUES:
        raise UnreadableImage("A TIFF is damaged: a tag holds no number that fits.")
    packed = struct.Struct(f"{layout.order}{count}{INTEGERS[type_]}")
    if packed.size > layout.inline_bytes:
        field = _take(stream, struct.unpack(layout.order + layout.offset, field)[0], packed.size)
    return packed.unpack_from(field)


def _number(stream: BinaryIO, offset: int, form: str) -> int:
    value: int = struct.unpack(form, _take(stream, offset, struct.calcsize(form)))[0]
    return value


def _take(stream: BinaryIO, offset: int, size: int) -> bytes:
    """Exactly `size` bytes at `offset`."""
    if offset < LAST_OFFSET:
        stream.seek(offset)
        data = stream.read(size)
        if len(data) == size:
            return data
    raise UnreadableImage("A TIFF is damaged or cut off.")
