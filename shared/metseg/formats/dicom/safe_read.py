"""Reads DICOM bytes that may be hostile: bounded work, typed errors, no content in messages.

pydicom trusts its input. Here a stream that counts what is read bounds the size of a header, and every error of the
library becomes one of metseg's. Its warnings and log lines quote values, a patient's name among them, so they are
suppressed for the whole process.
"""

import logging
import struct
import sys
import traceback
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import SEEK_END
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast

from pydicom import config, dcmread
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset, read_partial, read_preamble
from pydicom.filewriter import write_file_meta_info
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from metseg.errors import UnreadableImage
from metseg.settings import MIB

__all__ = [
    "DAMAGED_PIXELS",
    "find_pixels",
    "is_deflated",
    "open_inflated",
    "read_class",
    "read_elements",
    "read_with_pixels",
    "translate_errors",
]

DAMAGED_PIXELS = "The pixels of a DICOM file are damaged or cut off; export it again."
MAX_READS = 400_000
MAX_HEADER_BYTES = 32 * MIB
"""Twenty times what an enhanced series of a thousand frames needs; each read creates an object of about 100 bytes."""
MAX_ITEMS = 50_000  # of sequences; each becomes a data set
MAX_INFLATED_BYTES = 1024 * MIB
IN_MEMORY_BYTES = 16 * MIB
ITEM_TAGS = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")
SOP_CLASS_TAG = 0x00080016
DAMAGE = (
    *(InvalidDicomError, BytesLengthException, EOFError, OSError, ValueError, TypeError, KeyError, IndexError),
    *(AttributeError, NotImplementedError, OverflowError, ArithmeticError, RecursionError, RuntimeError),
    *(struct.error, zlib.error, LookupError),
)
"""What pydicom and the decoders raise for damaged bytes."""
MISTAKES = (TypeError, KeyError, AttributeError, NotImplementedError, RuntimeError)
"""Those that are a bug where they are raised in code of metseg."""
LIBRARIES = frozenset({"pydicom", "highdicom", "pylibjpeg", "openjpeg", "libjpeg", "rle", "PIL", "numpy"})
"""Packages that raise for damaged bytes what would be a bug elsewhere."""

for _library in ("pydicom", "highdicom"):
    logging.getLogger(_library).setLevel(logging.CRITICAL + 1)
warnings.filterwarnings(
    "ignore", module="pydicom|highdicom|pylibjpeg|openjpeg|PIL"
)  # a block of ours would need a lock
config.settings.reading_validation_mode = config.IGNORE


@contextmanager
def translate_errors(detail: str = "A DICOM file is damaged or cut off; export it again.") -> Iterator[None]:
    """Turn every error of pydicom and of the decoders into one of metseg's; a bug of metseg stays what it is.

    Raises:
        UnreadableImage: the block found damage; `detail` says what to do.
    """
    try:
        yield
    except DAMAGE as error:
        if isinstance(error, MISTAKES) and not isinstance(error, RecursionError) and not _raised_by_library(error):
            raise
        raise UnreadableImage(detail) from error


def _raised_by_library(error: BaseException) -> bool:
    """Whether the innermost code that is not the standard library's belongs to `LIBRARIES`."""
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if package not in sys.stdlib_module_names:
            return package in LIBRARIES
    return False


def read_class(stream: BinaryIO) -> str:
    """The SOP class, read before anything that depends on it; empty where the file has none.

    Raises:
        UnreadableImage: the file is damaged.
    """
    with translate_errors():
        meta = _read_meta(stream)
        own: Dataset = meta
        if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
            stream.seek(0)
            metered = cast(BinaryIO, _MeteredStream(stream))
            own = read_partial(metered, _past_class, force=True, specific_tags=[SOP_CLASS_TAG])
        return str(own.get("SOPClassUID") or meta.get("MediaStorageSOPClassUID") or "")


def is_deflated(stream: BinaryIO) -> bool:
    """Whether the data set is compressed as a whole.

    Raises:
        UnreadableImage: the file is damaged.
    """
    with translate_errors():
        return bool(_read_meta(stream).get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian)


@contextmanager
def open_inflated(stream: BinaryIO) -> Iterator[BinaryIO]:
    """A deflated file as an uncompressed one.

    Raises:
        UnreadableImage: it is damaged, or expands to more than any study.
    """
    with SpooledTemporaryFile(max_size=IN_MEMORY_BYTES) as spooled:
        target = cast(BinaryIO, spooled)
        with translate_errors():
            meta = _read_meta(stream)
            meta.TransferSyntaxUID = ExplicitVRLittleEndian
            target.write(bytes(128) + b"DICM")
            write_file_meta_info(target, meta, enforce_standard=False)  # type: ignore[arg-type]
            inflater = zlib.decompressobj(-zlib.MAX_WBITS)
            while not inflater.eof and (chunk := inflater.unconsumed_tail or stream.read(MIB)):
                target.write(inflater.decompress(chunk, MIB))
                if target.tell() > MAX_INFLATED_BYTES:
                    raise UnreadableImage("A deflated DICOM file expands to more than any study; export it again.")
            target.write(inflater.flush())
        target.seek(0)
        yield target


def read_elements(stream: BinaryIO, keywords: Sequence[str | int]) -> FileDataset:
    """Read elements before the pixels.

    Args:
        stream: the file; not deflated.
        keywords: of the elements, or tags of private ones, whose values are parsed: as text where they do not follow
            the standard. Empty for all, which are left as they are.

    Returns:
        The data set with the meta information of the file.

    Raises:
        UnreadableImage: the file is damaged, or its header is larger than any that a scanner writes.
    """
    with translate_errors():
        stream.seek(0)
        tags = [Tag(each) for each in keywords]
        dataset = _complete_meta(
            dcmread(_MeteredStream(stream), stop_before_pixels=True, force=True, specific_tags=tags or None)
        )
        for tag in list(dataset.keys()):
            value = getattr(dataset.get_item(tag), "value", None)
            if isinstance(value, bytes) and max(map(value.count, ITEM_TAGS)) > MAX_ITEMS:
                raise _too_large()
        if keywords:
            _parse(dataset)
    return dataset


def read_with_pixels(stream: BinaryIO, keywords: Sequence[str]) -> FileDataset:
    """Read a file whose header was accepted; within `translate_errors`.

    Args:
        stream: the file.
        keywords: of the elements.

    Returns:
        The data set, with encoded pixels.
    """
    stream.seek(0)
    return _complete_meta(dcmread(_UploadStream(stream), force=True, specific_tags=list(keywords)))


def find_pixels(stream: BinaryIO) -> int:
    """The offset of the pixel element: where a reader that stops before it ends; within `translate_errors`."""
    stream.seek(0)
    dcmread(_MeteredStream(stream), stop_before_pixels=True, force=True, specific_tags=["SOPClassUID"])
    return stream.tell()


def _read_meta(stream: BinaryIO) -> FileMetaDataset:
    """The meta information, empty where the file has none; the stream is left behind it."""
    stream.seek(0)
    metered = _MeteredStream(stream)
    read_preamble(metered, force=True)  # type: ignore[arg-type]
    return FileMetaDataset(read_dataset(metered, False, True, stop_when=_past_meta))  # type: ignore[arg-type]


def _past_meta(tag: BaseTag, vr: str | None, length: int) -> bool:
    return tag.group != 2


def _past_class(tag: BaseTag, vr: str | None, length: int) -> bool:
    return int(tag) > SOP_CLASS_TAG


def _complete_meta(dataset: FileDataset) -> FileDataset:
    """Old archives hold data sets without meta information: pydicom finds their syntax by the first element."""
    if not dataset.file_meta.get("TransferSyntaxUID"):
        dataset.file_meta.TransferSyntaxUID = _SYNTAXES[dataset.original_encoding]
    return dataset


_SYNTAXES: dict[tuple[bool | None, bool | None], UID] = {
    (True, True): ImplicitVRLittleEndian,
    (False, True): ExplicitVRLittleEndian,
    (False, False): ExplicitVRBigEndian,
}


def _parse(dataset: Dataset) -> None:
    """Parse all values here, where errors are the file's; a value that its type does not allow becomes text."""
    for tag in list(dataset.keys()):
        is_sequence = dictionary_has_tag(tag) and dictionary_VR(tag) == "SQ"
        try:
            element = dataset[tag]
        except DAMAGE:
            value = getattr(dataset.get_item(tag), "value", None)
            if is_sequence or not isinstance(value, bytes):
                raise
            dataset[tag] = DataElement(tag, "UT", value.decode("latin-1").rstrip("\0 "))
            continue
        if (element.VR == "SQ") != is_sequence:
            del dataset[tag]
        elif is_sequence:
            for item in element.value:
                _parse(item)


class _UploadStream:
    """A stream that pydicom reads without asking for the name of a file, which an upload does not have."""

    name = None

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.seek, self.tell = stream.seek, stream.tell
        position = stream.tell()
        self._end = stream.seek(0, SEEK_END)
        stream.seek(position)

    def read(self, size: int = -1) -> bytes:
        """Read as from any stream; a length beyond its end allocates nothing."""
        left = max(self._end - self._stream.tell(), 0)
        return self._stream.read(left if size < 0 else min(size, left))


class _MeteredStream(_UploadStream):
    """A stream that raises after more reads, bytes or items than a header may need."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__(stream)
        self._reads = self._bytes = self._items = 0

    def read(self, size: int = -1) -> bytes:
        """Read as from any stream."""
        if size < 0 or size > MAX_HEADER_BYTES:
            size = MAX_HEADER_BYTES + 1
        data = super().read(size)
        self._reads += 1
        self._bytes += len(data)
        self._items += data[:4] in ITEM_TAGS
        if self._reads > MAX_READS or self._bytes > MAX_HEADER_BYTES or self._items > MAX_ITEMS:
            raise _too_large()
        return data


def _too_large() -> UnreadableImage:
    return UnreadableImage("A DICOM header is larger than any that a scanner writes; export it again.")
