"""Reads DICOM bytes that may be hostile: bounded work, typed errors, no content in messages.

pydicom trusts its input. Here a stream that counts what is read bounds the size of a header, and every error of the
library becomes one of metseg's. Its warnings and log lines quote values, a patient's name among them, so they are
suppressed.
"""

import logging
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import RLock
from typing import BinaryIO

from pydicom import config, dcmread
from pydicom.dataset import FileDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset, read_preamble
from pydicom.tag import BaseTag
from pydicom.uid import DeflatedExplicitVRLittleEndian

from metseg.errors import UnreadableImage, UnsupportedFormat
from metseg.settings import MIB

__all__ = ["find_pixels", "read_elements", "read_with_pixels", "translate_errors"]

MAX_READS = 400_000
MAX_HEADER_BYTES = 32 * MIB
"""Twenty times what an enhanced series of a thousand frames needs; each read creates an object of about 100 bytes."""
MAX_ITEMS = 50_000  # of sequences; each becomes a data set
ITEM_TAGS = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")
DAMAGE = (
    *(InvalidDicomError, BytesLengthException, EOFError, OSError, ValueError, TypeError, KeyError, IndexError),
    *(AttributeError, NotImplementedError, OverflowError, ArithmeticError, RecursionError, RuntimeError),
    *(struct.error, zlib.error, LookupError, MemoryError),
)
"""What pydicom and the decoders raise for damaged bytes."""

_WARNINGS_LOCK = RLock()  # warning filters hold for the whole process

for _library in ("pydicom", "highdicom"):
    logging.getLogger(_library).setLevel(logging.CRITICAL + 1)
config.settings.reading_validation_mode = config.IGNORE


@contextmanager
def translate_errors(detail: str = "A DICOM file is damaged or cut off; export it again.") -> Iterator[None]:
    """Turn every error of the library into one of metseg's, and suppress its warnings.

    Raises:
        UnreadableImage: the block found damage; `detail` says what to do.
    """
    with _WARNINGS_LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except DAMAGE as error:
            raise UnreadableImage(detail) from error


def read_elements(stream: BinaryIO, keywords: Sequence[str]) -> FileDataset:
    """Read elements before the pixels; to be called, and their values accessed, within `translate_errors`.

    Args:
        stream: the file.
        keywords: of the elements; empty for all.

    Returns:
        The data set with the meta information of the file.

    Raises:
        UnsupportedFormat: the data set is deflated, so its size cannot be known beforehand.
        UnreadableImage: the header is larger than any that a scanner writes.
    """
    stream.seek(0)
    metered = _MeteredStream(stream)
    _refuse_deflated(metered)
    metered.seek(0)
    dataset = dcmread(metered, stop_before_pixels=True, specific_tags=list(keywords) or None)
    for tag in list(dataset.keys()):
        value = getattr(dataset.get_item(tag), "value", None)
        if isinstance(value, bytes) and max(map(value.count, ITEM_TAGS)) > MAX_ITEMS:
            raise _too_large()
    return dataset


def read_with_pixels(stream: BinaryIO, keywords: Sequence[str]) -> FileDataset:
    """Read a file whose header was accepted; within `translate_errors`.

    Args:
        stream: the file.
        keywords: of the elements.

    Returns:
        The data set, with encoded pixels.
    """
    return dcmread(_NamelessStream(stream), specific_tags=list(keywords))


def find_pixels(stream: BinaryIO) -> int:
    """The offset of the pixel element: where a reader that stops before it ends; within `translate_errors`."""
    stream.seek(0)
    dcmread(_MeteredStream(stream), stop_before_pixels=True, specific_tags=["SOPClassUID"])
    return stream.tell()


def _refuse_deflated(stream: "_MeteredStream") -> None:
    read_preamble(stream, force=False)  # type: ignore[arg-type]
    meta = read_dataset(stream, False, True, stop_when=_past_meta)  # type: ignore[arg-type]
    if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        raise UnsupportedFormat("A DICOM file is deflated as a whole; export it in another transfer syntax.")


def _past_meta(tag: BaseTag, vr: str | None, length: int) -> bool:
    return tag.group != 2


class _NamelessStream:
    """A stream that pydicom reads without asking for the name of a file, which an upload does not have."""

    name = None

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.seek, self.tell, self.read = stream.seek, stream.tell, stream.read


class _MeteredStream(_NamelessStream):
    """A stream that raises after more reads, bytes or items than a header may need."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__(stream)
        self._reads = self._bytes = self._items = 0
        self.read = self._read

    def _read(self, size: int = -1, /) -> bytes:
        if size < 0 or size > MAX_HEADER_BYTES:
            size = MAX_HEADER_BYTES + 1
        data = self._stream.read(size)
        self._reads += 1
        self._bytes += len(data)
        self._items += data[:4] in ITEM_TAGS
        if self._reads > MAX_READS or self._bytes > MAX_HEADER_BYTES or self._items > MAX_ITEMS:
            raise _too_large()
        return data


def _too_large() -> UnreadableImage:
    return UnreadableImage("A DICOM header is larger than any that a scanner writes; export it again.")
