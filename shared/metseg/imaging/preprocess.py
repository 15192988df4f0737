"""From a volume to model input and exactly back. Training and serving share this code, to the pixel.

A study becomes model input in five steps, each over the whole study, so that neighbouring slices stay comparable:

1. Every slice is scaled to model pixels: by its spacing where that is known, else so that the head is as large as in
   training (it fills square frames of `REFERENCE_PX`).
2. The bounding box of the head, widened to a multiple of 16, is cropped; most of a slice is air.
3. The intensities of every channel are rescaled to 8 bits between two robust percentiles of the head.
4. CLAHE (Zuiderveld, Graphics Gems IV, 1994; OpenCV's implementation) raises local contrast, slice by slice.
5. Every channel is standardised to mean 0 and deviation 1 over the head of the whole study.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from metseg.contracts import Preprocessing
from metseg.errors import UnusableImage
from metseg.imaging.arrays import Array, Float32Array, Mask, Shape, UInt8Array
from metseg.imaging.head_crop import ScaledSlices, Size, Slices, crop_box, crop_or_pad, head_mask, overlap, resize
from metseg.imaging.lookup_tables import lookup_function, mean_and_deviation, percentiles
from metseg.imaging.volume import Volume

__all__ = [
    "HEAD_PX",
    "REFERENCE_PIXEL_MM",
    "REFERENCE_PX",
    "Geometry",
    "ModelInput",
    "Preprocessor",
    "assumed_slice_distance_mm",
    "equalise",
    "intensity_bounds",
    "rescale_intensity",
    "standardise",
]

REFERENCE_PX = 256
REFERENCE_PIXEL_MM = 0.9
HEAD_PX = 236
"""The head's longer side in a reference frame: the median of the training patients."""
HEAD_MM, SLICE_DISTANCE_MM = 150.0, (1.0, 7.0)
"""The height of a head, and plausible distances between its slices."""
PLAUSIBLE_HEAD = (0.7, 1.1)
"""Heads between these multiples of `HEAD_PX` are as large as those in the training data."""
PLAUSIBLE_SINGLE_SLICE_HEAD = (0.3, 1.1)
"""The same for a single slice, which may cut the head near its top."""

MAX_SCALED_PX = 2**29
"""Of all slices in model pixels: twice the largest study."""


@dataclass(frozen=True)
class Geometry:
    """The position of a model input in its study, in rows and columns.

    Attributes:
        shape: of the study: slices, rows, columns.
        frame: rows and columns of a whole slice in model pixels.
        origin: first row and column of the head's box in that frame; negative where the box is padded.
        box: rows and columns of the head's box in model pixels, multiples of the contract's `multiple`.
        voxel_mm3: the volume of one voxel of the study; partly assumed where its spacing is unknown.
    """

    shape: Shape
    frame: Size
    origin: Size
    box: Size
    voxel_mm3: float


@dataclass(frozen=True, eq=False)
class ModelInput:
    """The input of a network, in 8 bits until it is used: a quarter of the memory.

    Attributes:
        pixels: uint8 after CLAHE, (slice, row, column, channel), rows and columns of `geometry.box`.
        mean: float32, (channel,), over the study's head.
        deviation: float32, (channel,), over the study's head.
        occupied: bool, (slice,): whether the slice shows any head; the others need no network.
        geometry: for restoring its output.
        shown: the channels that the network sees; it sees 0 in the others.
    """

    pixels: UInt8Array
    mean: Float32Array
    deviation: Float32Array
    occupied: Mask
    geometry: Geometry
    shown: tuple[bool, ...] = (True, True, True)

    def tensor(self, slices: slice | list[int]) -> Float32Array:
        """Some slices as network input: float32, (slice, row, column, channel), standardised."""
        standardised = standardise(self.pixels[slices], self.mean, self.deviation)
        return standardised if all(self.shown) else standardised * np.array(self.shown, np.float32)


class Preprocessor:
    """Prepares volumes for the networks of one contract, and restores their output; the same in training and serving.

    Args:
        contract: from the model's card.
    """

    def __init__(self, contract: Preprocessing) -> None:
        self.contract = contract

    def prepare(self, volume: Volume) -> ModelInput:
        """The model input of a study of any size and dtype."""
        contract = self.contract
        _, rows, columns = volume.shape
        factors = _scale_factors(volume)
        frame = (
            max(1, round(rows * factors[0] * contract.pixel_scale)),
            max(1, round(columns * factors[1] * contract.pixel_scale)),
        )
        _check_scaled_size(volume.shape, frame)
        head = head_mask(volume.pixels, frame)
        origin, box = crop_box(head, contract.multiple)
        geometry = Geometry(volume.shape, frame, origin, box, _voxel_mm3(volume, factors))
        pixels, head = ScaledSlices(volume.pixels, frame, origin, box), crop_or_pad(head, origin, box)
        rescale = rescale_intensity(pixels.dtype, intensity_bounds(pixels, head, contract))
        equalised = equalise(pixels, rescale, contract)
        mean, deviation = mean_and_deviation(list(_MaskedPixels(equalised, head)))
        shown = volume.present if contract.missing_sequences == "zero" else (True, True, True)
        occupied = np.asarray(head.any(axis=(1, 2)))
        return ModelInput(equalised, mean, np.maximum(deviation, 1), occupied, geometry, shown)

    @staticmethod
    def restore(probability: Float32Array, geometry: Geometry) -> Float32Array:
        """Scale a probability map from model pixels back to the size of its study.

        Args:
            probability: float32 in [0, 1], (slice, row, column), rows and columns of `geometry.box`.
            geometry: of the input that the map was computed from.

        Returns:
            float32 in [0, 1], (slice, row, column) as the study; 0 outside the head's box.

        Raises:
            ValueError: the map is not shaped as the input was.
        """
        if probability.shape != (geometry.shape[0], *geometry.box):
            raise ValueError(f"expected {(geometry.shape[0], *geometry.box)}, got {probability.shape}")
        whole = np.zeros((len(probability), *geometry.frame), np.float32)
        in_box, in_frame = overlap(geometry.origin, geometry.box, geometry.frame)
        whole[:, *in_frame] = probability[:, *in_box]
        return resize(whole[..., None], geometry.shape[1:])[..., 0]

    @staticmethod
    def prepare_truth(mask: Mask, geometry: Geometry) -> Float32Array:
        """Scale a true mask to model pixels, for training.

        Args:
            mask: bool, (slice, row, column) as the study.
            geometry: of the study's model input.

        Returns:
            float32 in [0, 1], (slice, row, column) of the box: the share of each model pixel that the mask covers.
        """
        scaled = resize(mask[..., None].astype(np.float32), geometry.frame)
        return crop_or_pad(scaled, geometry.origin, geometry.box)[..., 0]


class _MaskedPixels:
    """The pixels of the head, (pixel, channel) of each slice."""

    def __init__(self, pixels: Slices, head: Mask) -> None:
        self._pixels, self._head = pixels, head

    def __iter__(self) -> Iterator[Array]:
        return (one[inside] for one, inside in zip(self._pixels, self._head, strict=True))


def standardise(pixels: UInt8Array, mean: Float32Array, deviation: Float32Array) -> Float32Array:
    """Scale every channel to mean 0 and deviation 1.

    Args:
        pixels: uint8, (..., channel).
        mean: float32, (channel,).
        deviation: float32, (channel,); not 0.

    Returns:
        float32, shaped as `pixels`.
    """
    return (pixels - mean) / deviation


def _scale_factors(volume: Volume) -> tuple[float, float]:
    """Reference pixels per pixel, along rows and columns."""
    slices, rows, columns = volume.shape
    if volume.spacing_mm is not None:
        return volume.spacing_mm[1] / REFERENCE_PIXEL_MM, volume.spacing_mm[2] / REFERENCE_PIXEL_MM
    whole_frame = REFERENCE_PX / max(rows, columns)
    if whole_frame == 1:
        return 1.0, 1.0
    _, box = crop_box(head_mask(volume.pixels, (round(rows * whole_frame), round(columns * whole_frame))), 1)
    low, high = PLAUSIBLE_SINGLE_SLICE_HEAD if slices == 1 else PLAUSIBLE_HEAD
    relative_size = max(box) / HEAD_PX
    factor = whole_frame if low <= relative_size <= high else whole_frame / relative_size
    return factor, factor


def assumed_slice_distance_mm(slices: int) -> float:
    """The distance between slices of unknown spacing, which are assumed to cover a head."""
    return float(np.clip(HEAD_MM / slices, *SLICE_DISTANCE_MM))


def _voxel_mm3(volume: Volume, factors: tuple[float, float]) -> float:
    spacing_mm, slices = volume.spacing_mm, len(volume.pixels)
    between_mm = assumed_slice_distance_mm(slices) if spacing_mm is None else spacing_mm[0]
    return between_mm * factors[0] * factors[1] * REFERENCE_PIXEL_MM**2


def _check_scaled_size(shape: Shape, frame: Size) -> None:
    """Refuse a study that would grow without bound, since its head is a speck in its slices."""
    if shape[0] * frame[0] * frame[1] > MAX_SCALED_PX and frame[0] * frame[1] > shape[1] * shape[2]:
        raise UnusableImage(
            "The head is so small in its slices that they would have to be enlarged beyond what fits into memory; crop "
            "them to the head."
        )


def intensity_bounds(pixels: Slices, head: Mask, contract: Preprocessing) -> Float32Array:
    """The two percentiles of every channel over a study's head.

    Args:
        pixels: of the study, (slice, row, column, channel).
        head: bool, (slice, row, column); not empty.
        contract: names the percentiles.

    Returns:
        float32, (2, channel): low and high.
    """
    bounds = (contract.low_percentile, contract.high_percentile)
    return percentiles(_MaskedPixels(pixels, head), bounds).astype(np.float32)


def rescale_intensity(dtype: "np.dtype[Any]", bounds: Float32Array) -> Callable[[Array], UInt8Array]:
    """The function that rescales every channel of a slice to 8 bits.

    Args:
        dtype: of the pixels.
        bounds: float32, (2, channel): what becomes 0 and 255.

    Returns:
        Takes a slice, (row, column, channel), of that dtype.
    """
    low, high = bounds
    span = np.maximum(high - low, np.finfo(np.float32).eps)
    return lookup_function(
        dtype, len(low), lambda values: np.rint(((values - low) / span).clip(0, 1) * 255).astype(np.uint8)
    )


def equalise(pixels: Slices, rescale: Callable[[Array], UInt8Array], contract: Preprocessing) -> UInt8Array:
    """CLAHE of every slice and channel after rescaling.

    Args:
        pixels: (slice, row, column, channel), cropped to the head's box.
        rescale: from `rescale_intensity`.
        contract: names the clip limit and the tiles.

    Returns:
        uint8, shaped as `pixels`.
    """
    clahe = cv2.createCLAHE(contract.clahe_clip_limit, (contract.clahe_tiles, contract.clahe_tiles))
    out = np.empty(pixels.shape, np.uint8)
    for source, target in zip(pixels, out, strict=True):
        rescaled = rescale(source)
        for channel in range(rescaled.shape[-1]):
            target[..., channel] = clahe.apply(np.ascontiguousarray(rescaled[..., channel]))
    return out
