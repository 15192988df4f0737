"""Reading DICOM bytes that may be hostile: bounded work, typed errors, nothing told of what they hold.

pydicom is made for files that are what they say. Here a stream that counts what is taken from it bounds how much a
header may make of itself, and every error of the library becomes one of ours. Its warnings and log lines quote the
values that they are about, a patient's name among them, so they are never let out.
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

__all__ = ["header", "legible"]

MOST_READS = 400_000
MOST_HEADER_BYTES = 32 * MIB
"""Twenty times what an enhanced series of a thousand frames needs; each read makes an object of some hundred bytes."""
MOST_ITEMS = 50_000  # of sequences, each of which becomes a data set
ITEMS = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")
DAMAGE = (
    *(InvalidDicomError, BytesLengthException, EOFError, OSError, ValueError, TypeError, KeyError, IndexError),
    *(AttributeError, NotImplementedError, OverflowError, ArithmeticError, RecursionError, RuntimeError),
    *(struct.error, zlib.error, LookupError, MemoryError),
)
"""What pydicom and the decoders raise for damaged bytes."""

_ONE_AT_A_TIME = RLock()  # what is done to warnings holds for a whole process

for _library in ("pydicom", "highdicom"):
    logging.getLogger(_library).setLevel(logging.CRITICAL + 1)
config.settings.reading_validation_mode = config.IGNORE


@contextmanager
def legible(detail: str = "A DICOM file is damaged or cut off; export it again.") -> Iterator[None]:
    """Turn whatever the library makes of damaged bytes into one error, and keep its warnings quiet.

    Raises:
        UnreadableImage: the block met damage; `detail` says what to do.
    """
    with _ONE_AT_A_TIME, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except DAMAGE as error:
            raise UnreadableImage(detail) from error


def header(stream: BinaryIO, tags: Sequence[str]) -> FileDataset:
    """The elements of these keywords before the pixels, or all; to be called, and its values taken, within `legible`.

    Raises:
        UnsupportedFormat: the data set is deflated, so its size cannot be told beforehand.
        UnreadableImage: the header is larger than any that a scanner writes.
    """
    stream.seek(0)
    metered = _Metered(stream)
    _refuse_deflated(metered)
    metered.seek(0)
    wanted = list(tags) or None
    found = dcmread(metered, stop_before_pixels=True, specific_tags=wanted)
    for tag in list(found.keys()):
        value = getattr(found.get_item(tag), "value", None)
        if isinstance(value, bytes) and max(map(value.count, ITEMS)) > MOST_ITEMS:
            raise _too_large()
    return found


def _refuse_deflated(stream: "_Metered") -> None:
    read_preamble(stream, force=False)  # type: ignore[arg-type]
    meta = read_dataset(stream, False, True, stop_when=_past_meta)  # type: ignore[arg-type]
    if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        raise UnsupportedFormat("A DICOM file is deflated as a whole; export it in another transfer syntax.")


def _past_meta(tag: BaseTag, vr: str | None, length: int) -> bool:
    return tag.group != 2


class _Metered:
    """A stream that hands out no more than a header may need."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._reads = self._bytes = self._items = 0
        self.seek = stream.seek
        self.tell = stream.tell
        self.name = None

    def read(self, size: int = -1) -> bytes:
        """As of any stream."""
        if size < 0 or size > MOST_HEADER_BYTES:
            size = MOST_HEADER_BYTES + 1
        data = self._stream.read(size)
        self._reads += 1
        self._bytes += len(data)
        self._items += data[:4] in ITEMS
        if self._reads > MOST_READS or self._bytes > MOST_HEADER_BYTES or self._items > MOST_ITEMS:
            raise _too_large()
        return data


def _too_large() -> UnreadableImage:
    return UnreadableImage("A DICOM header is larger than any that a scanner writes; export it again.")
