"""The types of arrays, and of what describes their geometry."""

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Affine", "Array", "Float32Array", "Float64Array", "LabelMap", "Mask", "Shape", "Spacing", "UInt8Array"]

Array = npt.NDArray[Any]
UInt8Array = npt.NDArray[np.uint8]
Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
LabelMap = npt.NDArray[np.integer[Any]]
"""0 is background; any other value names a component or a structure."""
Affine = npt.NDArray[np.float64]
"""From voxel indices to patient millimetres (RAS+), (4, 4)."""
Spacing = tuple[float, float, float]
"""Millimetres between slices, rows and columns."""
Shape = tuple[int, int, int]
"""Slices, rows, columns."""
