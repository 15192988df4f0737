"""Metastases drawn into real heads, so that their truth is known, for data sets that have none.

Sizes follow series of patients: most lesions are small, many patients have several (BraTS-METS 2023,
Moawad et al.; Delattre et al., Archives of Neurology 1988;45:741-4). Most are at the border of grey and white matter,
few deep (Hwang et al., Cancer 1996;77:1551-5). After contrast small ones enhance whole, larger ones as a ring around a
necrotic centre; before contrast they are dark or like the brain around them; on FLAIR oedema spreads in the white
matter. Every brightness is relative to the patient's own brain, since it differs widely between patients.

`run` uses this model. The training of core and whole has a newer one, `metseg_trainer.data.structures`, which replaces
this one once its networks are served.
"""

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from metseg.imaging import CONNECTIVITY_26, FLAIR, POST, PRE, Float32Array, Mask, Volume
from metseg_trainer.data.skull_stripping import brain_mask, cerebral_slices
from metseg_trainer.data.spacing import spacing_or_assumed_mm

__all__ = ["ImplantedStudy", "enhancing_mask", "implant_lesions", "lesion_free_run"]

DIAMETERS_MM = (2.0, 30.0)
MEDIAN_MM, SPREAD = 8.0, 0.7
MANY = 20
HOLLOW_MM, ALL_HOLLOW_MM = 6.0, 25.0
"""The diameters from which the centre of a lesion may be necrotic, and from which it always is."""
BORDER_MM = (5.0, 16.0)
"""Depth below the brain's surface at which grey meets white matter."""
AT_BORDER = 0.8
BRAIN_SHARE = 0.6
"""A slice with less brain than this share of the fullest one is left out, since the scalp is near."""
MAX_TRIES = 40
NO_OEDEMA_P = 0.25
"""Share of lesions without oedema."""
MIN_ENHANCEMENT = 0.35
"""Tissue that gains more than this share of the brain's brightness after contrast enhances."""
MAX_FLUID = 0.7
"""Tissue darker on FLAIR than this share of the brain's median is fluid."""
CORTEX_MM = 3.0
MIN_OEDEMA = 0.25
"""Oedema weaker than this, from 0 to 1, is not drawn, so that a mask has an edge."""

Random = np.random.Generator


@dataclass(frozen=True, eq=False)
class ImplantedStudy:
    """A study with lesions that were drawn into it.

    Attributes:
        volume: the study; its pixels differ from the original's where `labels` is not 0, and nowhere else.
        labels: int32, (slice, row, column): n where the n-th lesion is, its oedema included; lesions never touch.
        diameters_mm: of the lesions without their oedema, in the order of their labels.
    """

    volume: Volume
    labels: npt.NDArray[np.int32]
    diameters_mm: tuple[float, ...]


@dataclass(frozen=True)
class _Levels:
    """A patient's own brightness by channel: of the brain, its spread, and of the brightest pixels."""

    middle: Float32Array
    spread: Float32Array
    bright: Float32Array


def implant_lesions(volume: Volume, truth: Mask, seed: int, count: int | None = None) -> ImplantedStudy:
    """Draw metastases into the slices of a study that have no lesion.

    Args:
        volume: the study, real or drawn.
        truth: bool, (slice, row, column): its own lesions; they and the slices next to them do not change.
        seed: of every draw; the same seed draws the same lesions.
        count: how many are tried, 1 to 20; None draws 1 to 20, few more often than many. Fewer are drawn
            without room.

    Returns:
        The study with the lesions.
    """
    random = np.random.default_rng(seed)
    canvas = _Canvas.of(volume, truth)
    wanted = min(MANY, int(random.geometric(0.22))) if count is None else count
    sizes = np.clip(MEDIAN_MM * np.exp(SPREAD * random.standard_normal(wanted)), *DIAMETERS_MM)
    drawn = [diameter for diameter in sorted(sizes.tolist(), reverse=True) if canvas.draw(diameter, random)]
    return ImplantedStudy(canvas.volume(), canvas.labels, tuple(drawn))


def enhancing_mask(volume: Volume, brain: Mask) -> Mask:
    """Vessels, choroid plexus and other structures in and around the brain that enhance after contrast.

    Args:
        volume: the study, before any lesion was drawn into it.
        brain: bool, (slice, row, column).

    Returns:
        bool, (slice, row, column).
    """
    pre, post = (volume.pixels[..., channel].astype(np.float32) for channel in (PRE, POST))
    if not brain.any():
        return np.zeros(volume.shape, np.bool_)
    gain = post / max(float(np.median(post[brain])), 1) - pre / max(float(np.median(pre[brain])), 1)
    around = ndimage.binary_dilation(brain, np.ones((1, 9, 9), bool))
    return np.asarray(around & (gain > MIN_ENHANCEMENT), np.bool_)


def lesion_free_run(truth: Mask) -> slice:
    """The longest run of slices without a lesion in them or next to them; empty if there is none."""
    ends = np.flatnonzero(np.diff(~_near(truth), prepend=False, append=False)).reshape(-1, 2)
    if not len(ends):
        return slice(0, 0)
    first, stop = max(ends.tolist(), key=lambda run: run[1] - run[0])
    return slice(first, stop)


def _near(truth: Mask) -> Mask:
    """Slices with a lesion or next to one."""
    return np.asarray(ndimage.binary_dilation(truth.any(axis=(1, 2))), np.bool_)


@dataclass(frozen=True, eq=False)
class _Canvas:
    """A study into which lesions are drawn: only pixels and labels change."""

    original: Volume
    pixels: Float32Array
    labels: npt.NDArray[np.int32]
    free: Mask
    like_brain: Mask
    depth_mm: Float32Array
    levels: _Levels
    spacing_mm: tuple[float, float, float]

    @classmethod
    def of(cls, volume: Volume, truth: Mask) -> "_Canvas":
        """A study without any drawn lesion."""
        spacing = spacing_or_assumed_mm(volume)
        brain = brain_mask(volume)
        areas = brain.sum(axis=(1, 2))
        usable = (areas > BRAIN_SHARE * areas.max()) & cerebral_slices(volume) & ~_near(truth)
        depth = np.stack([cv2.distanceTransform(one.astype(np.uint8), cv2.DIST_L2, 5) for one in brain])
        pixels = volume.pixels.astype(np.float32)
        levels = _levels(pixels, brain & ~truth)
        return cls(
            original=volume,
            pixels=pixels,
            labels=np.zeros(volume.shape, np.int32),
            free=brain & usable[:, None, None],
            like_brain=(np.abs(pixels - levels.middle) < 2.5 * levels.spread).all(axis=-1),
            depth_mm=(depth * spacing[1]).astype(np.float32),
            levels=levels,
            spacing_mm=spacing,
        )

    def draw(self, diameter_mm: float, random: Random) -> bool:
        """Draw a lesion where there is room for it; False if there is none."""
        oedema_mm = 0.0 if random.random() < NO_OEDEMA_P else float(random.uniform(1, 4 + 0.6 * diameter_mm))
        style = _Style.drawn(diameter_mm, self.levels, random)
        for _ in range(MAX_TRIES):
            centre = self._place(random)
            if centre is None:
                return False
            box = self._box(centre, diameter_mm * 0.8 + oedema_mm * 1.5 + 1)
            core, swelling = self._shape(box, centre, diameter_mm, oedema_mm, random)
            here = ((core >= 0.5) | (swelling > 0)) & self.free[box]
            here = _part_with(here, (centre[0] - box[0].start, centre[1] - box[1].start, centre[2] - box[2].start))
            if here.any() and not self._touches(here, box) and (core[here] >= 0.5).sum() >= 0.7 * (core >= 0.5).sum():
                style.paint(self.pixels[box], core * here, swelling * here)
                self.labels[box][here] = self.labels.max() + 1
                return True
        return False

    def volume(self) -> Volume:
        """The study with its lesions; a sequence that was a copy of FLAIR stays one."""
        old, new = self.original.pixels, self.pixels
        for channel in (PRE, POST):
            if np.array_equal(old[..., channel], old[..., FLAIR]):
                new[..., channel] = new[..., FLAIR]
        if old.dtype.kind == "u":
            new = np.rint(new.clip(0, 2 ** (8 * old.dtype.itemsize) - 1))
        return replace(self.original, pixels=np.where((self.labels > 0)[..., None], new.astype(old.dtype), old))

    def _touches(self, here: Mask, box: tuple[slice, slice, slice]) -> bool:
        """Whether a lesion in a box would touch another one, which may be outside the box."""
        around = tuple(slice(max(0, side.start - 1), side.stop + 1) for side in box)
        inner = tuple(slice(one.start - big.start, one.stop - big.start) for one, big in zip(box, around, strict=True))
        near = ndimage.binary_dilation(self.labels[around] > 0, CONNECTIVITY_26)[inner]
        return bool((here & near).any())

    def _place(self, random: Random) -> tuple[int, int, int] | None:
        """A voxel for a lesion's centre, most often at the border of grey and white matter."""
        open_ = self.free & self.like_brain & (self.labels == 0)
        border = open_ & (self.depth_mm > BORDER_MM[0]) & (self.depth_mm < BORDER_MM[1])
        deep = open_ & (self.depth_mm >= BORDER_MM[1])
        for where in (border, deep) if random.random() < AT_BORDER else (deep, border):
            found = np.flatnonzero(where)
            if len(found):
                at = np.unravel_index(int(random.choice(found)), self.free.shape)
                return int(at[0]), int(at[1]), int(at[2])
        return None

    def _box(self, centre: tuple[int, int, int], reach_mm: float) -> tuple[slice, slice, slice]:
        low_stop = [
            slice(max(0, at - (half := int(np.ceil(reach_mm / step)))), min(full, at + half + 1))
            for at, step, full in zip(centre, self.spacing_mm, self.free.shape, strict=True)
        ]
        return low_stop[0], low_stop[1], low_stop[2]

    def _shape(
        self, box: tuple[slice, ...], centre: tuple[int, ...], diameter_mm: float, oedema_mm: float, random: Random
    ) -> tuple[Float32Array, Float32Array]:
        """The core and the oedema of each voxel of a box, both from 0 to 1."""
        ratio = np.exp(random.uniform(-0.15, 0.15, 3)) * self.spacing_mm
        offsets = [(axis - at) * step for axis, at, step in zip(np.ogrid[box], centre, ratio, strict=True)]
        distance = np.sqrt(sum(offset**2 for offset in offsets)).astype(np.float32)
        lobes = _noise(distance.shape, self.spacing_mm, max(2.0, diameter_mm / 4), random) * random.uniform(0, 0.35)
        core = _falls(distance - diameter_mm / 2 * (1 + lobes), 0.5)
        if not oedema_mm:
            return core, np.zeros_like(core)
        fingers = _noise(distance.shape, self.spacing_mm, 4.0, random) * 0.35
        swelling = _falls(distance - diameter_mm / 2 - oedema_mm * (1 + fingers), 1.5) * self._white(box)
        swelling *= 1 - 0.25 * np.abs(_noise(distance.shape, self.spacing_mm, 6.0, random)).clip(0, 2)
        swelling[swelling < MIN_OEDEMA] = 0
        return core, swelling

    def _white(self, box: tuple[slice, ...]) -> Float32Array:
        """Where oedema spreads: below the cortex, and not into fluid, which is dark on FLAIR."""
        middle, spread = self.levels.middle[FLAIR], self.levels.spread[FLAIR]
        solid = _falls((MAX_FLUID * middle - self.pixels[box][..., FLAIR]) / spread, 0.3)
        return solid * _falls(CORTEX_MM - self.depth_mm[box], 0.7)


def _levels(pixels: Float32Array, brain: Mask) -> _Levels:
    inside = pixels[brain] if brain.any() else pixels.reshape(-1, pixels.shape[-1])
    low, middle, high, bright = np.percentile(inside, (25, 50, 75, 99.5), axis=0).astype(np.float32)
    return _Levels(middle, np.maximum(high - low, 1), bright)


def _noise(shape: tuple[int, ...], spacing: tuple[float, ...], scale_mm: float, random: Random) -> Float32Array:
    """Smooth noise of unit deviation."""
    white = random.standard_normal(shape).astype(np.float32)
    smooth = ndimage.gaussian_filter(white, [scale_mm / step for step in spacing], mode="wrap")
    return np.asarray(smooth / max(float(smooth.std()), 1e-6), np.float32)


def _falls(distance: npt.NDArray[Any], width: float) -> Float32Array:
    """1 inside, where the distance is negative, 0 outside, a half at the edge."""
    return np.asarray(1 / (1 + np.exp((distance / width).clip(-30, 30) * 2)), np.float32)


def _part_with(mask: Mask, centre: tuple[int, int, int]) -> Mask:
    """The 26-connected part of a mask that a voxel is in; empty where the voxel is not in the mask."""
    labels, _ = ndimage.label(mask, CONNECTIVITY_26)
    at = labels[centre]
    return np.asarray((labels == at) & (at > 0), np.bool_)


@dataclass(frozen=True)
class _Style:
    """The look of a lesion: brightness of rim, centre and oedema by channel, and the rim's thickness."""

    rim: Float32Array
    centre: Float32Array
    oedema: Float32Array
    rim_share: float

    @classmethod
    def drawn(cls, diameter_mm: float, levels: _Levels, random: Random) -> "_Style":
        """A style that fits the size: small lesions are solid, larger ones may have a necrotic centre."""
        middle, spread, bright = levels.middle, levels.spread, levels.bright
        glow = max(float(bright[POST] - middle[POST]), 3 * float(spread[POST]))
        rim = (
            middle[PRE] * random.uniform(0.8, 1.0),
            middle[FLAIR] + spread[FLAIR] * random.uniform(0.2, 1.6),
            middle[POST] + glow * random.uniform(0.6, 1.2),
        )
        dead = (
            middle[PRE] * random.uniform(0.6, 0.85),
            middle[FLAIR] + spread[FLAIR] * random.uniform(-1.2, 1.8),
            middle[POST] * random.uniform(0.6, 0.95),
        )
        oedema = (
            middle[PRE] * random.uniform(0.8, 0.96),
            middle[FLAIR] + spread[FLAIR] * random.uniform(1.2, 3.0),
            middle[POST] * random.uniform(0.85, 1.0),
        )
        hollow = random.random() < (diameter_mm - HOLLOW_MM) / (ALL_HOLLOW_MM - HOLLOW_MM)
        return cls(
            rim=np.array(rim, np.float32),
            centre=np.array(dead if hollow else rim, np.float32),
            oedema=np.array(oedema, np.float32),
            rim_share=float(random.uniform(0.18, 0.5)),
        )

    def paint(self, pixels: Float32Array, core: Float32Array, swelling: Float32Array) -> None:
        """Blend the lesion into the pixels of its box, in place, keeping their texture."""
        texture = (pixels - np.stack([cv2.GaussianBlur(one, (0, 0), 2.0) for one in pixels])) * 0.6
        depth = np.stack([cv2.distanceTransform((one >= 0.5).astype(np.uint8), cv2.DIST_L2, 5) for one in core])
        inner = _falls(self.rim_share * max(float(depth.max()), 1.0) - depth, 0.6)[..., None]
        pixels += swelling[..., None] * (self.oedema + texture - pixels)
        pixels += core[..., None] * (self.rim + (self.centre - self.rim) * inner + texture - pixels)
