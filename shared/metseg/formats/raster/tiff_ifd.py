"""The image file directories (IFD) of a TIFF, read in bounded steps whatever the bytes are.

Only the tags that describe the layout of a page are read, never pixels. A JPEG's EXIF data have the same structure.
"""

import struct
from collections.abc import Iterator, Mapping
from enum import IntEnum
from typing import BinaryIO, NamedTuple

from metseg.errors import TooManyFiles, UnreadableImage

__all__ = ["Ifd", "Tag", "read_ifds", "set_first_ifd"]

MAX_ENTRIES = 512
MAX_VALUES = 16
MAX_DESCRIPTION_BYTES = 4096
DESCRIPTION, ASCII = 270, 2
MAX_OFFSET = 2**40  # beyond it, some file systems refuse to seek
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


KNOWN_TAGS = frozenset(Tag)


class _Layout(NamedTuple):
    """How a classic TIFF or a BigTIFF stores numbers, as formats of `struct`."""

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


class Ifd(NamedTuple):
    """One directory, usually a page.

    Attributes:
        offset: of its start in the file.
        tags: the values of each `Tag` that is present.
        description: the first bytes of ImageDescription.
    """

    offset: int
    tags: Mapping[Tag, tuple[int, ...]]
    description: bytes = b""

    def value(self, tag: Tag, default: int) -> int:
        """The first value of a tag.

        Args:
            tag: which one.
            default: returned where the directory lacks the tag.

        Returns:
            The value.
        """
        return self.tags.get(tag, (default,))[0]

    @property
    def orientation(self) -> int:
        """The orientation, as EXIF numbers it; 1, upright, where it is missing or invalid."""
        orientation = self.value(Tag.ORIENTATION, 1)
        return orientation if orientation in range(1, 9) else 1


def read_ifds(stream: BinaryIO, max_count: int) -> Iterator[Ifd]:
    """Read the directories of a file.

    Args:
        stream: the file.
        max_count: of directories.

    Yields:
        The directories in their order.

    Raises:
        UnreadableImage: the structure is damaged or circular.
        TooManyFiles: there are more than `max_count`.
    """
    layout = _Layout.of(_read_exactly(stream, 0, 4))
    offset = _read_number(stream, layout.first, layout.order + layout.offset)
    seen: set[int] = set()
    while offset:
        if offset in seen:
            raise UnreadableImage("A TIFF is damaged: its pages form a loop.")
        if len(seen) == max_count:
            raise TooManyFiles(f"A TIFF has more than {max_count} pages; upload one study at a time.")
        seen.add(offset)
        ifd, offset = _read_ifd(stream, offset, layout)
        yield ifd


def set_first_ifd(buffer: memoryview, offset: int) -> None:
    """Make a directory the first one of a TIFF in memory.

    Args:
        buffer: the file; its header is changed.
        offset: of the directory.
    """
    layout = _Layout.of(bytes(buffer[:4]))
    struct.pack_into(layout.order + layout.offset, buffer, layout.first, offset)


def _read_ifd(stream: BinaryIO, offset: int, layout: _Layout) -> tuple[Ifd, int]:
    """The directory at `offset`, and the offset of the next one (0: none)."""
    entries = _read_number(stream, offset, layout.order + layout.entries)
    if not 0 < entries <= MAX_ENTRIES:
        raise UnreadableImage(f"A TIFF is damaged: a page has {entries} tags.")
    start = offset + struct.calcsize(layout.order + layout.entries)
    entry = struct.Struct(layout.order + layout.entry)
    block = _read_exactly(stream, start, entries * entry.size)
    tags: dict[Tag, tuple[int, ...]] = {}
    description = b""
    for number, type_, count, field in entry.iter_unpack(block):
        if number == DESCRIPTION and type_ == ASCII:
            description = _description(stream, count, field, layout)
        if number not in KNOWN_TAGS:
            continue
        if number in tags:  # decoders disagree on which one counts
            raise UnreadableImage("A TIFF is damaged: a page has a tag twice.")
        tags[Tag(number)] = _values(stream, type_, count, field, layout)
    return Ifd(offset, tags, description), _read_number(stream, start + len(block), layout.order + layout.offset)


def _description(stream: BinaryIO, count: int, field: bytes, layout: _Layout) -> bytes:
    if count <= layout.inline_bytes:
        return field[:count]
    offset: int = struct.unpack(layout.order + layout.offset, field)[0]
    stream.seek(min(offset, MAX_OFFSET))
    return stream.read(min(count, MAX_DESCRIPTION_BYTES))


def _values(stream: BinaryIO, type_: int, count: int, field: bytes, layout: _Layout) -> tuple[int, ...]:
    """A tag's values, stored in its field or, if too long, at the offset in it."""
    if type_ not in INTEGERS or not 0 < count <= MAX_VALUES:
        raise UnreadableImage("A TIFF is damaged: a tag has an invalid value.")
    packed = struct.Struct(f"{layout.order}{count}{INTEGERS[type_]}")
    if packed.size > layout.inline_bytes:
        field = _read_exactly(stream, struct.unpack(layout.order + layout.offset, field)[0], packed.size)
    return packed.unpack_from(field)


def _read_number(stream: BinaryIO, offset: int, form: str) -> int:
    value: int = struct.unpack(form, _read_exactly(stream, offset, struct.calcsize(form)))[0]
    return value


def _read_exactly(stream: BinaryIO, offset: int, size: int) -> bytes:
    """Exactly `size` bytes at `offset`."""
    if offset < MAX_OFFSET:
        stream.seek(offset)
        data = stream.read(size)
        if len(data) == size:
            return data
    raise UnreadableImage("A TIFF is damaged or cut off.")
