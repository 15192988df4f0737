"""A stored probability map in memory, in the 16 bits in which it is stored."""

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from metseg.formats import PROBABILITIES, StoredSlices
from metseg.imaging import Float32Array, Region, UInt8Array

__all__ = ["StoredProbability"]


class StoredProbability:
    """A probability map; a `metseg.imaging.ProbabilityMap` of half the memory of an array.

    Args:
        levels: uint16, (slice, row, column): 65535 is 1.
    """

    def __init__(self, levels: npt.NDArray[np.uint16]) -> None:
        self._levels = levels
        self.shape: tuple[int, ...] = levels.shape

    @classmethod
    def read(cls, stream: BinaryIO) -> "StoredProbability":
        """Read a stored map; ProcessingFailed where it is damaged."""
        return cls(StoredSlices(stream).read_all(np.uint16))

    def __iter__(self) -> Iterator[Float32Array]:
        return (PROBABILITIES[one] for one in self._levels)

    def __getitem__(self, region: Region) -> Float32Array:
        found: Float32Array = PROBABILITIES[self._levels[region]]
        return found

    def reaches(self, threshold: float) -> UInt8Array:
        """2 where the probability is at least `threshold`, else 0, as `select_components` takes it."""
        levels: UInt8Array = (2 * (np.float32(threshold) <= PROBABILITIES)).astype(np.uint8)
        return levels[self._levels]
