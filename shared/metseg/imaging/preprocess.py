"""Volume -> model input and the exact way back; training and serving both pass through here.

A study becomes model input in five steps, all of them by study so that neighbouring slices stay comparable:

1. Every slice is scaled to model pixels: by its spacing where that is known, else so that the head is as
   large as in training (`REFERENCE_PX` square frames that the head fills).
2. The box of the head, widened to a multiple of 16, is cut out; most of a slice is air.
3. Every channel is stretched between two robust percentiles of the head to 8 bits.
4. CLAHE (Zuiderveld, Graphics Gems IV, 1994; OpenCV's) lifts local contrast, slice by slice.
5. Every channel is normalised to mean 0 and deviation 1 over the head of the whole study.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from metseg.contracts import Preprocessing
from metseg.imaging.lookup_tables import looked_up, mean_and_deviation, percentiles
from metseg.imaging.volume import Volume

REFERENCE_PX = 256
REFERENCE_PIXEL_MM = 0.9
HEAD_PX = 236
"""The head's longer side in a reference frame: the median of the training patients."""
PLAUSIBLE_HEAD = (0.7, 1.1)
"""Heads between these multiples of `HEAD_PX` are of the size that training has seen."""
PLAUSIBLE_LONE_HEAD = (0.3, 1.1)
"""The same for a lone slice, which may cut the head near its top."""

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Geometry:
    """Where a model input lies in its study, in rows and columns.

    Attributes:
        shape: of the study: slices, rows, columns.
        frame: rows and columns of a whole slice in model pixels.
        origin: first row and column of the head's box in that frame; negative where the box is padded.
        box: rows and columns of the head's box in model pixels, multiples of the contract's `multiple`.
        reference_px: the area of one pixel of the study in reference pixels.
    """

    shape: tuple[int, int, int]
    frame: tuple[int, int]
    origin: tuple[int, int]
    box: tuple[int, int]
    reference_px: float


@dataclass(frozen=True, eq=False)
class ModelInput:
    """What a network is fed, kept at a quarter of its size until it is.

    Attributes:
        pixels: uint8 after CLAHE, (slice, row, column, channel), rows and columns of `geometry.box`.
        mean: float32, (channel,), over the study's head.
        deviation: float32, (channel,), over the study's head.
        occupied: bool, (slice,): whether the slice shows any head; the others need no network.
        geometry: the way back.
    """

    pixels: npt.NDArray[np.uint8]
    mean: Floats
    deviation: Floats
    occupied: Mask
    geometry: Geometry

    def tensor(self, slices: slice | list[int]) -> Floats:
        """Some slices as a network takes them: float32, (slice, row, column, channel), standardised."""
        return standardise(self.pixels[slices], self.mean, self.deviation)


def standardise(pixels: npt.NDArray[np.uint8], mean: Floats, deviation: Floats) -> Floats:
    """Mean 0 and deviation 1, channel by channel; float32, shaped as `pixels`."""
    return (pixels - mean) / deviation


def to_input(volume: Volume, contract: Preprocessing) -> ModelInput:
    """Prepare a study for a network, the same in training and in serving.

    Args:
        volume: any size and dtype that a Volume can have.
        contract: from the model's card.
    """
    _, rows, columns = volume.shape
    factors = _scale(volume)
    frame = (
        max(1, round(rows * factors[0] * contract.pixel_scale)),
        max(1, round(columns * factors[1] * contract.pixel_scale)),
    )
    scaled = _resize(volume.pixels, frame)
    head = _head(scaled, frame)
    origin, box = _head_box(head, contract.multiple)
    geometry = Geometry(volume.shape, frame, origin, box, factors[0] * factors[1])
    pixels, head = _cut(scaled, origin, box), _cut(head, origin, box)
    equalised = _equalise(pixels, _stretch(pixels, head, contract), contract)
    mean, deviation = mean_and_deviation(_inside(equalised, head))
    return ModelInput(equalised, mean, np.maximum(deviation, 1), np.asarray(head.any(axis=(1, 2))), geometry)


def from_output(probability: Floats, geometry: Geometry) -> Floats:
    """Bring a probability map from model pixels back to the size of its study.

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
    inside, outside = _overlap(geometry.origin, geometry.box, geometry.frame)
    whole[:, *outside] = probability[:, *inside]
    return _resize(whole[..., None], geometry.shape[1:])[..., 0]


def truth_to_input(mask: Mask, geometry: Geometry) -> Floats:
    """Bring a true mask into model pixels, to train with.

    Args:
        mask: bool, (slice, row, column) as the study.
        geometry: of the study's model input.

    Returns:
        float32 in [0, 1], the share of each model pixel that the mask covers; (slice, row, column) of the box.
    """
    scaled = _resize(mask[..., None].astype(np.float32), geometry.frame)
    return _cut(scaled, geometry.origin, geometry.box)[..., 0]


def _scale(volume: Volume) -> tuple[float, float]:
    """Reference pixels a pixel, along rows and columns."""
    slices, rows, columns = volume.shape
    if volume.spacing_mm is not None:
        return volume.spacing_mm[1] / REFERENCE_PIXEL_MM, volume.spacing_mm[2] / REFERENCE_PIXEL_MM
    whole_frame = REFERENCE_PX / max(rows, columns)
    if whole_frame == 1:
        return 1.0, 1.0
    _, box = _head_box(_head(volume.pixels, (round(rows * whole_frame), round(columns * whole_frame))), 1)
    low, high = PLAUSIBLE_LONE_HEAD if slices == 1 else PLAUSIBLE_HEAD
    seen = max(box) / HEAD_PX
    factor = whole_frame if low <= seen <= high else whole_frame / seen
    return factor, factor


def _resize(pixels: Array, size: tuple[int, int]) -> Array:
    """Scale every slice of (slice, row, column, channel) to `size` rows and columns."""
    if pixels.shape[1:3] == size:
        return pixels
    out = np.empty((len(pixels), *size, pixels.shape[3]), pixels.dtype)
    for source, target in zip(_resized(pixels, size), out, strict=True):
        target[:] = source
    return out


def _resized(pixels: Array, size: tuple[int, int]) -> Iterator[Array]:
    """The same one by one, so that they are never whole in memory."""
    if pixels.shape[1:3] == size:
        yield from pixels
        return
    shrinks = size[0] * size[1] < pixels.shape[1] * pixels.shape[2]
    for one in pixels:
        resized = cv2.resize(one, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        yield resized.reshape(*size, pixels.shape[3])


def _head(pixels: Array, size: tuple[int, int]) -> Mask:
    """What is brighter than air: bool, (slice, row, column), of a study as large as `size`.

    Air is darker than half of Otsu's threshold (IEEE Trans. SMC 1979) over the study's mean of channels;
    specks and lines thinner than three pixels do not count.
    """
    channels = pixels.shape[-1]
    bounds = percentiles((one.reshape(-1, channels) for one in _resized(pixels, size)), (0, 99.5))
    low, high = bounds.astype(np.float32)
    span = np.maximum(high - low, np.finfo(np.float32).eps)
    bright = looked_up(pixels.dtype, channels, lambda values: ((values - low) / span).clip(0, 1))
    grey = np.empty((len(pixels), *size), np.uint8)
    for one, target in zip(_resized(pixels, size), grey, strict=True):
        target[:] = np.rint(_mean_of_channels(bright(one)) * 255).astype(np.uint8)
    threshold, _ = cv2.threshold(grey.reshape(len(grey), -1), 0, 255, cv2.THRESH_OTSU)
    kernel = np.ones((3, 3), np.uint8)
    opened = [cv2.morphologyEx((one > threshold / 2).astype(np.uint8), cv2.MORPH_OPEN, kernel) for one in grey]
    head = np.stack(opened).astype(bool)
    return head if head.any() else np.ones_like(head)


def _mean_of_channels(pixels: Floats) -> Floats:
    """(row, column); added channel by channel, as NumPy's mean over so short an axis does."""
    mean = pixels[..., 0].copy()
    for channel in range(1, pixels.shape[-1]):
        mean += pixels[..., channel]
    return np.divide(mean, pixels.shape[-1], out=mean)


def _head_box(head: Mask, multiple: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Origin and size of the smallest box, centred on the head of all slices, of whole multiples."""
    seen: Mask = np.asarray(head.any(axis=0))
    sides = []
    for line in (seen.any(axis=1), seen.any(axis=0)):
        [inside] = np.nonzero(line)
        first, extent = int(inside[0]), int(inside[-1] - inside[0] + 1)
        size = -(-extent // multiple) * multiple
        sides.append((first - (size - extent) // 2, size))
    (top, rows), (left, columns) = sides
    return (top, left), (rows, columns)


def _overlap(
    origin: tuple[int, int], box: tuple[int, int], frame: tuple[int, int]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """The part of a box that lies in the frame: as seen from the box, and from the frame."""
    inside, outside = [], []
    for first, size, whole in zip(origin, box, frame, strict=True):
        start, stop = max(first, 0), min(first + size, whole)
        outside.append(slice(start, stop))
        inside.append(slice(start - first, stop - first))
    return (inside[0], inside[1]), (outside[0], outside[1])


def _cut(pixels: Array, origin: tuple[int, int], box: tuple[int, int]) -> Array:
    """Cut a box out of every slice, with zeros where it reaches beyond the frame."""
    frame = (pixels.shape[1], pixels.shape[2])
    inside, outside = _overlap(origin, box, frame)
    out = np.zeros((len(pixels), *box, *pixels.shape[3:]), pixels.dtype)
    out[:, *inside] = pixels[:, *outside]
    return out


def _inside(pixels: Array, head: Mask) -> list[Array]:
    """The pixels of the head, (pixel, channel) of each slice."""
    return [one[shown] for one, shown in zip(pixels, head, strict=True)]


def _stretch(pixels: Array, head: Mask, contract: Preprocessing) -> Callable[[Array], npt.NDArray[np.uint8]]:
    """What brings every channel of a slice to 8 bits between two percentiles of the study's head."""
    bounds = percentiles(_inside(pixels, head), (contract.low_percentile, contract.high_percentile))
    low, high = bounds.astype(np.float32)
    span = np.maximum(high - low, np.finfo(np.float32).eps)
    return looked_up(
        pixels.dtype,
        pixels.shape[-1],
        lambda values: np.rint(((values - low) / span).clip(0, 1) * 255).astype(np.uint8),
    )


def _equalise(
    pixels: Array, stretch: Callable[[Array], npt.NDArray[np.uint8]], contract: Preprocessing
) -> npt.NDArray[np.uint8]:
    """CLAHE of every slice and channel, once it is stretched."""
    clahe = cv2.createCLAHE(contract.clahe_clip_limit, (contract.clahe_tiles, contract.clahe_tiles))
    out = np.empty(pixels.shape, np.uint8)
    for source, target in zip(pixels, out, strict=True):
        stretched = stretch(source)
        for channel in range(stretched.shape[-1]):
            target[..., channel] = clahe.apply(np.ascontiguousarray(stretched[..., channel]))
    return out
