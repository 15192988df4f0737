"""Scan: a head with metastases, imaged as by a scanner."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from metseg.imaging import (
    CHANNELS,
    CONNECTIVITY_26,
    Float32Array,
    Float64Array,
    Mask,
    Spacing,
    UInt8Array,
    Volume,
)
from metseg.phantom.anatomy import HEIGHT_MM, MIDDLE_MM, Anatomy, Tissue, draw_anatomy
from metseg.phantom.shapes import Coordinates

__all__ = ["SIGNAL", "Phantom", "PhantomLesion", "head"]

Voxel = tuple[int, int, int]

MAX_LESIONS = 20
DIAMETER_MM = (2.0, 30.0)
FRAME_MM = 230.0
"""The field of view that a head of usual size fills; a smaller one is given a smaller head."""
MIN_RING_MM = 9.0
MAX_LUMPS = 0.22
"""How far a lesion's surface deviates from a ball's, as a share of its radius."""

# Pre-contrast T1, FLAIR and post-contrast T1, as shares of white matter's T1 before contrast.
SIGNAL: dict[Tissue, tuple[float, float, float]] = {
    Tissue.AIR: (0.00, 0.00, 0.00),
    Tissue.SKIN: (0.60, 0.50, 0.75),
    Tissue.FAT: (1.45, 1.00, 1.40),
    Tissue.MUSCLE: (0.52, 0.42, 0.72),
    Tissue.BONE: (0.07, 0.06, 0.08),
    Tissue.MARROW: (0.55, 0.38, 0.55),
    Tissue.CSF: (0.24, 0.13, 0.25),
    Tissue.GREY: (0.70, 0.72, 0.78),
    Tissue.WHITE: (1.00, 0.60, 1.04),
    Tissue.DEEP_GREY: (0.83, 0.68, 0.88),
    Tissue.CEREBELLAR_GREY: (0.76, 0.70, 0.81),
    Tissue.STEM: (0.94, 0.64, 0.98),
    Tissue.CHOROID: (0.45, 0.45, 1.60),
    Tissue.VESSEL: (0.22, 0.14, 1.75),
    Tissue.EYE: (0.28, 0.16, 0.29),
    Tissue.LENS: (0.65, 0.50, 0.68),
    Tissue.DURA: (0.30, 0.25, 0.65),
    Tissue.MUCOSA: (0.45, 0.60, 1.10),
}
OEDEMA = (0.70, 1.22, 0.74)
SOLID = (0.66, 1.05, 1.75)
RIM = (0.68, 0.98, 1.85)
CORE = (0.42, 1.12, 0.44)
DEAD, OEDEMA_LABEL, ENHANCING = 1, 2, 3
WET = (Tissue.WHITE, Tissue.STEM)
"""Where oedema spreads freely."""
FULL_SCALE = 1.7
"""The signal that becomes white."""


@dataclass(frozen=True)
class PhantomLesion:
    """A metastasis of a phantom; it and its oedema are one component of the mask.

    Attributes:
        centre: slice, row and column; part of the mask.
        diameter_mm: of the tumour, without oedema.
        oedema_mm: how far the oedema reaches beyond it in white matter.
        ring: whether it enhances as a ring around a dead core.
    """

    centre: Voxel
    diameter_mm: float
    oedema_mm: float
    ring: bool


@dataclass(frozen=True, eq=False)
class Phantom:
    """A head whose lesions are known.

    Attributes:
        volume: uint8 pixels.
        mask: bool, (slice, row, column): lesions with their oedema.
        labels: uint8, (slice, row, column): 1 dead tumour, 2 oedema, 3 enhancing tumour, as in BraTS-METS.
        lesions: largest tumour first.
    """

    volume: Volume
    mask: Mask
    labels: UInt8Array
    lesions: tuple[PhantomLesion, ...]


def head(
    seed: int,
    *,
    slices: int = 24,
    size_px: int = 256,
    lesions: int | None = None,
    spacing_mm: Spacing = (5.0, 0.9, 0.9),
) -> Phantom:
    """Draw a head with metastases.

    The slices reach from the orbits to the vertex whatever their number, and a field of view narrower than a
    head shows a whole but smaller one, so that small phantoms are heads too.

    Args:
        seed: equal arguments give equal pixels.
        slices: how many.
        size_px: rows and columns.
        lesions: how many, from 0 to 20; None draws a number as in patients.
        spacing_mm: between slices, rows and columns.

    Returns:
        The scan with its mask and lesions.

    Raises:
        ValueError: `lesions` is out of its range, or the brain has no room for so many.
    """
    if lesions is not None and not 0 <= lesions <= MAX_LESIONS:
        raise ValueError(f"a phantom has 0 to {MAX_LESIONS} lesions, not {lesions}")
    rng = np.random.default_rng(seed)
    at, scale = _pose(rng, slices, size_px, spacing_mm)
    anatomy = draw_anatomy(rng, at)
    signal = _contrasts(rng)[anatomy.tissue]
    labels, free = np.zeros(anatomy.brain.shape, np.uint8), anatomy.brain.copy()
    placed: list[PhantomLesion] = []
    for diameter_mm in _diameters(rng, _count(rng) if lesions is None else lesions, scale):
        placed.append(_place(rng, anatomy, free, others=placed, diameter_mm=diameter_mm, spacing_mm=spacing_mm))
        box, covered = _paint(rng, signal, anatomy, free=free, lesion=placed[-1], spacing_mm=spacing_mm)
        labels[box] = np.where(covered > 0, covered, labels[box])
        free[box] &= ~ndimage.binary_dilation(covered > 0, CONNECTIVITY_26)
    names = tuple(f"slice_{index:03d}" for index in range(slices))
    affine = _affine(spacing_mm, (slices, size_px, size_px))
    volume = Volume(_image(rng, signal, at), names, spacing_mm, affine, source="phantom")
    return Phantom(volume, labels > 0, labels, tuple(sorted(placed, key=lambda lesion: -lesion.diameter_mm)))


def _pose(rng: np.random.Generator, slices: int, size_px: int, spacing_mm: Spacing) -> tuple[Coordinates, float]:
    """The positions of the voxels in the head, and the head's size as a share of a usual one."""
    between_mm, *pixel_mm = spacing_mm
    scale = min(1.0, size_px * min(pixel_mm) / FRAME_MM)
    size, turn, tilt = scale * rng.uniform(0.99, 1.08), rng.normal(0, 0.05), rng.normal(0, 0.06)
    step = max(HEIGHT_MM / slices, between_mm / 1.2)
    z = MIDDLE_MM + (np.arange(slices) - (slices - 1) / 2)[:, None, None] * step
    row, column = (
        (np.arange(size_px) - (size_px - 1) / 2 + rng.uniform(-0.015, 0.015) * size_px) * mm / size for mm in pixel_mm
    )
    x = column * np.cos(turn) - row[:, None] * np.sin(turn)
    y = column * np.sin(turn) + row[:, None] * np.cos(turn) + tilt * (z - MIDDLE_MM)
    x, y, z = (np.ascontiguousarray(axis, np.float32) for axis in np.broadcast_arrays(x, y, z))
    return Coordinates(x, y, z, float(np.mean(pixel_mm)) / size), scale


def _affine(spacing_mm: Spacing, shape: Voxel) -> Float64Array:
    """Columns run to the patient's left, rows to the back, slices to the top; the middle is the origin."""
    affine = np.diag([-spacing_mm[2], -spacing_mm[1], spacing_mm[0], 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape[::-1]) - 1) / 2)
    return affine


def _count(rng: np.random.Generator) -> int:
    """How many lesions a patient has."""
    few = int(rng.choice(5, p=[0.49, 0.21, 0.13, 0.06, 0.11])) + 1
    return few if few < 5 else min(few + int(rng.exponential(4)), MAX_LESIONS)


def _diameters(rng: np.random.Generator, count: int, scale: float) -> list[float]:
    """Tumour diameters in millimetres, largest first, which is the order that leaves room for all."""
    low, high = DIAMETER_MM
    drawn = rng.lognormal(np.log(10), 0.6, count) * scale
    return sorted(np.clip(drawn, low, max(low, high * scale)).tolist(), reverse=True)


def _place(
    rng: np.random.Generator,
    anatomy: Anatomy,
    free: Mask,
    *,
    others: Sequence[PhantomLesion],
    diameter_mm: float,
    spacing_mm: Spacing,
) -> PhantomLesion:
    """Place a lesion at the border of grey and white matter, apart from others; it shrinks where there is no room."""
    region = rng.choice(3, p=[0.80, 0.15, 0.05])
    border = free & (anatomy.cortex_mm > 3) & (anatomy.cortex_mm < 8)
    places = [np.argwhere(where) for where in (border & (anatomy.region == region), border, free)]
    if not len(places[-1]):
        raise ValueError("the brain has no room for so many lesions; request fewer, or a larger head")
    oedema_mm = min(1.0 + diameter_mm * rng.uniform(0.25, 0.9), 12.0)
    lesion = PhantomLesion((0, 0, 0), diameter_mm, oedema_mm, bool(diameter_mm > MIN_RING_MM and rng.random() < 0.7))
    while lesion.diameter_mm > DIAMETER_MM[0]:
        for place in places:
            roomy = place
            for other in others:
                distance_mm = np.linalg.norm((roomy - other.centre) * spacing_mm, axis=1)
                roomy = roomy[distance_mm > _reach(lesion) + _reach(other)]
            if len(roomy):
                return replace(lesion, centre=_one(rng, roomy))
        smaller_mm = max(0.7 * lesion.diameter_mm, DIAMETER_MM[0])
        lesion = PhantomLesion((0, 0, 0), smaller_mm, 0.7 * lesion.oedema_mm, lesion.ring and smaller_mm > MIN_RING_MM)
    return replace(lesion, centre=_one(rng, places[-1]))


def _one(rng: np.random.Generator, voxels: npt.NDArray[np.int64]) -> Voxel:
    slice_, row, column = voxels[rng.integers(len(voxels))].tolist()
    return slice_, row, column


def _reach(lesion: PhantomLesion) -> float:
    """How far from its centre a lesion and its oedema may spread, in millimetres."""
    return lesion.diameter_mm / 2 * (1 + MAX_LUMPS) + lesion.oedema_mm


def _paint(
    rng: np.random.Generator,
    signal: Float32Array,
    anatomy: Anatomy,
    *,
    free: Mask,
    lesion: PhantomLesion,
    spacing_mm: Spacing,
) -> tuple[tuple[slice, ...], UInt8Array]:
    """Draw a lesion with its oedema into `signal`; returns a box and the lesion's labels in it."""
    margins = [int(_reach(lesion) / side) + 2 for side in spacing_mm]
    box = tuple(slice(max(0, at - by), at + by + 1) for at, by in zip(lesion.centre, margins, strict=True))
    sides = [np.arange(side.start, min(side.stop, size)) for side, size in zip(box, signal.shape[:3], strict=True)]
    away = [(side - at) * mm for side, at, mm in zip(sides, lesion.centre, spacing_mm, strict=True)]
    offset = np.stack(np.meshgrid(*away, indexing="ij"), axis=-1)
    distance = np.linalg.norm(offset, axis=-1)
    edge = lesion.diameter_mm / 2 * (1 + MAX_LUMPS * _lumps(rng, offset / lesion.diameter_mm))
    brain = free[box] & (anatomy.region[box] == anatomy.region[lesion.centre])
    tumour = brain & (distance < edge)
    spread = lesion.oedema_mm * (0.6 + 0.4 * _lumps(rng, 1.5 * offset / _reach(lesion)))
    spread = np.where(np.isin(anatomy.tissue[box], WET), spread, 0.4 * spread)
    wet = brain & (distance < edge + spread)
    middle = np.unravel_index(distance.argmin(), distance.shape)
    labels, _ = ndimage.label(tumour | wet, CONNECTIVITY_26)
    covered = labels == labels[middle]
    local = signal[box]
    share = np.clip(1.05 - 0.3 * (distance - edge) / lesion.oedema_mm, 0.75, 1)[..., None]
    near = np.where(covered[..., None], local + share * (np.array(OEDEMA) - local), local)
    near[tumour & covered] = RIM if lesion.ring else SOLID
    drawn = np.where(tumour & covered, ENHANCING, covered * OEDEMA_LABEL).astype(np.uint8)
    if lesion.ring:
        dead = tumour & covered & (distance < edge * rng.uniform(0.55, 0.75))
        near[dead], drawn[dead] = CORE, DEAD
    signal[box] = near
    return box, drawn


def _lumps(rng: np.random.Generator, offset: Float64Array) -> Float64Array:
    """Smooth noise in [-1, 1] over points, (..., 3), that vary with a wavelength of about 1.5."""
    waves, phases = rng.normal(0, 4, (3, 6)), rng.uniform(0, 2 * np.pi, 6)
    lumps: Float64Array = np.clip(np.cos(offset @ waves + phases).sum(axis=-1) / 3, -1, 1)
    return lumps


def _contrasts(rng: np.random.Generator) -> Float32Array:
    """Each tissue's signal on this scanner, (tissue, channel); some suppress fat after contrast."""
    signal = np.array([SIGNAL[tissue] for tissue in Tissue], np.float32)
    signal *= rng.normal(1, 0.04, signal.shape).clip(0.9, 1.1).astype(np.float32)
    if rng.random() < 0.4:
        signal[[Tissue.FAT, Tissue.MARROW], 2] *= np.float32(0.35)
    return signal


def _image(rng: np.random.Generator, signal: Float32Array, at: Coordinates) -> UInt8Array:
    """Image a head: texture, blur, coil shading, noise, contrast and brightness, in 8 bits."""
    signal = signal * (1 + np.float32(0.03) * at.noise(rng, 3)[..., None])
    blurred = np.stack([cv2.GaussianBlur(one, (0, 0), 0.65) for one in signal])
    pixels = np.empty(blurred.shape, np.uint8)
    for channel in range(len(CHANNELS)):
        shaded = blurred[..., channel] * np.exp(np.float32(rng.uniform(0.03, 0.12)) * at.noise(rng, 90))
        shaded = shaded.clip(0) ** np.float32(rng.uniform(0.9, 1.2))
        noise = rng.standard_normal((2, *shaded.shape), dtype=np.float32) * np.float32(rng.uniform(0.012, 0.03))
        magnitude = np.hypot(shaded + noise[0], noise[1])
        pixels[..., channel] = np.clip(magnitude * np.float32(255 / FULL_SCALE * rng.uniform(0.55, 1.05)), 0, 255)
    return pixels
