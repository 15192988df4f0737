"""How much memory the segmentation of a study takes: the one formula, by which the gateway refuses what cannot fit.

Bytes per voxel of the study, measured as the peak of a worker's process (`tests/integration/worker/test_memory.py`):

- while it is read: its sequences as they are decoded, and the channels that they are stacked into;
- while it is segmented: the channels, the compressed pictures, mask and probabilities of two structures, and for each
  pixel of the model the network's input in 8 bits, the head and two maps;
- with uncertainty: the spread, and for each further view its probabilities or labels.
"""

from dataclasses import dataclass

import numpy as np

from metseg.errors import StudyTooLarge
from metseg.imaging.arrays import Shape, Spacing
from metseg.imaging.preprocess import REFERENCE_PIXEL_MM, REFERENCE_PX

__all__ = ["StudySize", "check_fits", "peak_bytes"]

GIB = 2**30
PROCESSES_BYTES = 2**29
"""The worker's processes without a study: libraries, a model, and the end of the job before."""
MAX_FURTHER_VIEWS = 3
"""Of an uncertainty: the study mirrored, and the other network's two views."""


@dataclass(frozen=True)
class StudySize:
    """The size of a study by its headers.

    Attributes:
        shape: slices, rows, columns.
        itemsize: bytes of a value once it is read: 1, 2 or 4.
        decoded: sequences that are in memory while the channels are stacked; 0 if slices are decoded into their places.
        channels: that are stored: 1 if all are the same sequence, else 3.
        spacing_mm: between slices, rows and columns; None if unknown.
        resampled: whether a sequence is brought onto the grid of another.
    """

    shape: Shape
    itemsize: int
    decoded: int
    channels: int
    spacing_mm: Spacing | None
    resampled: bool = False

    @property
    def model_px(self) -> float:
        """Pixels of the model for each pixel of the study."""
        _, rows, columns = self.shape
        if self.spacing_mm is None:
            return (REFERENCE_PX / max(rows, columns)) ** 2
        return self.spacing_mm[1] * self.spacing_mm[2] / REFERENCE_PIXEL_MM**2


def peak_bytes(size: StudySize, *, uncertainty: bool) -> int:
    """The most memory that a worker takes for a study.

    Args:
        size: of the study.
        uncertainty: whether it is asked for.

    Returns:
        Bytes, those of the worker without a study included.
    """
    stored = size.itemsize * size.channels
    reading = size.itemsize * size.decoded + stored + 1 + (8 if size.resampled else 0)
    segmenting = stored + size.channels + 6 + 9 * size.model_px
    if uncertainty:
        segmenting += 8 + 5 * MAX_FURTHER_VIEWS
    return PROCESSES_BYTES + int(np.prod(size.shape, dtype=np.int64) * max(reading, segmenting))


def check_fits(size: StudySize, memory_bytes: int, *, uncertainty: bool) -> None:
    """Refuse a study that needs more memory than a worker has.

    Args:
        size: of the study.
        memory_bytes: of the worker's container.
        uncertainty: whether it is asked for.

    Raises:
        StudyTooLarge: it needs more.
    """
    needed = peak_bytes(size, uncertainty=uncertainty)
    if needed <= memory_bytes:
        return
    slices, rows, columns = size.shape
    without = " without uncertainty, or" if uncertainty and peak_bytes(size, uncertainty=False) <= memory_bytes else ""
    raise StudyTooLarge(
        f"This study of {slices} slices of {rows} x {columns} pixels takes {needed / GIB:.1f} GiB of memory, and the "
        f"worker has {memory_bytes / GIB:.1f} GiB; send it{without} with fewer or smaller slices, or in 8 or 16 bits "
        "without a sign."
    )
