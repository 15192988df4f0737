"""Canvas: a slice of a real head into which lesions and vessels are drawn, and its truth afterwards."""

from dataclasses import dataclass

import cv2
import numpy as np

from metseg.imaging import FLAIR, POST, PRE, Float32Array, Mask, Present, UInt8Array
from metseg_trainer.data.morphology import solidity
from metseg_trainer.data.structures import store
from metseg_trainer.data.structures.lesion_model import Appearance
from metseg_trainer.data.structures.rendering import RenderedLesion

__all__ = ["Canvas", "shows_enough_brain"]

MIN_DEPTH_MM = 4.0
"""The smallest depth of a lesion's centre below the surface of the brain."""
BORDER_MM = (4.5, 16.0)
"""Depth below the brain's surface at which grey meets white matter."""
AT_BORDER = 0.65
"""Share of lesions at that depth."""
TUMOUR_MARGIN_PX = 17
"""Side of the square by which the patient's own tumour is widened before lesions are placed."""
MIN_CHANGE = 0.10
"""A lesion that changes its sequence by less than this share of the brain's median is invisible."""
MIN_CHANGE_NOISE = 2.0
"""So is one that changes it by less than this many standard deviations of the noise."""
MIN_PEAK = 0.2
MIN_BRAIN_MM2, MIN_SOLIDITY = 4000.0, 0.88
"""A mask that is smaller, or fills less of its convex hull, is face as often as brain."""
MAX_UNEVENNESS = 0.2
"""Standard deviation over 9x9 pixels, as a share of the brain's median, above which a place is not brain."""
VESSEL_SUPERSAMPLING = 4

Random = np.random.Generator


@dataclass(frozen=True, eq=False)
class Canvas:
    """A slice to draw into: `pixels`, `core`, `oedema`, `unknown` and `taken` change.

    Attributes:
        pixels: float32, (row, column, channel).
        core: float32, (row, column): the share of each pixel that is drawn core.
        oedema: float32, (row, column): the strength of drawn oedema.
        unknown: bool: where a lesion is invisible.
        taken: bool: where nothing more is drawn.
        smooth: the original pixels, blurred.
        brain: bool.
        depth_mm: below the surface of the brain.
        middle: float32, (channel,): the brain's median.
        noise: float32, (channel,): standard deviation of the noise.
        pixel_mm: side of a pixel.
    """

    pixels: Float32Array
    core: Float32Array
    oedema: Float32Array
    unknown: Mask
    taken: Mask
    smooth: Float32Array
    brain: Mask
    depth_mm: Float32Array
    middle: Float32Array
    noise: Float32Array
    pixel_mm: float

    @classmethod
    def of(cls, pixels: UInt8Array, flags: UInt8Array, pixel_mm: float) -> "Canvas | None":
        """The canvas of a slice.

        Args:
            pixels: uint8, (row, column, channel).
            flags: uint8, (row, column), the bits of `store`.
            pixel_mm: side of a pixel.

        Returns:
            None if the slice shows too little brain to draw into.
        """
        brain = (flags & store.BRAIN) > 0
        if not shows_enough_brain(brain, pixel_mm):
            return None
        values = pixels.astype(np.float32)
        smooth = np.asarray(cv2.GaussianBlur(values, (0, 0), 1.5), np.float32)
        tumour = (flags & (store.CORE | store.WHOLE | store.CORE_UNKNOWN)) > 0
        near = cv2.dilate(tumour.astype(np.uint8), np.ones((TUMOUR_MARGIN_PX, TUMOUR_MARGIN_PX), np.uint8)) > 0
        healthy = brain & ~near if (brain & ~near).sum() > 500 else brain
        middle = np.median(values[healthy], axis=0)
        residual = (values - smooth)[healthy]
        noise = 1.4826 * np.median(np.abs(residual), axis=0) * 1.1
        return cls(
            pixels=values,
            core=np.zeros(brain.shape, np.float32),
            oedema=np.zeros(brain.shape, np.float32),
            unknown=np.zeros(brain.shape, np.bool_),
            taken=near,
            smooth=smooth,
            brain=brain,
            depth_mm=cv2.distanceTransform(brain.astype(np.uint8), cv2.DIST_L2, 5) * pixel_mm,
            middle=np.maximum(middle, 1).astype(np.float32),
            noise=noise.astype(np.float32),
            pixel_mm=pixel_mm,
        )

    def place(self, present: Present, random: Random) -> tuple[int, int] | None:
        """Draw a place for a lesion's centre.

        Args:
            present: which sequences the slice has; all of them show brain there.
            random: draws it.

        Returns:
            Row and column; None if there is no room.
        """
        alike = np.logical_and.reduce([self._like_brain(channel) for channel in range(3) if present[channel]])
        open_ = self.brain & alike & ~self.taken & (self.depth_mm > MIN_DEPTH_MM)
        border = open_ & (self.depth_mm > BORDER_MM[0]) & (self.depth_mm < BORDER_MM[1])
        found = np.flatnonzero(border if random.random() < AT_BORDER and border.any() else open_)
        if not len(found):
            return None
        row, column = np.unravel_index(int(random.choice(found)), self.brain.shape)
        return int(row), int(column)

    def _like_brain(self, channel: int) -> Mask:
        """Where a sequence is about as bright and homogeneous as brain, unlike face and skull."""
        ratio = self.smooth[..., channel] / self.middle[channel]
        mean = cv2.blur(ratio, (9, 9))
        uneven = np.sqrt((cv2.blur(ratio * ratio, (9, 9)) - mean * mean).clip(0))
        return np.asarray((mean > 0.7) & (mean < 1.4) & (uneven < MAX_UNEVENNESS), np.bool_)

    def draw(self, rendered: RenderedLesion, appearance: Appearance, at: tuple[int, int]) -> bool:
        """Draw what this slice shows of a lesion.

        Args:
            rendered: its maps.
            appearance: its brightness.
            at: row and column of its centre.

        Returns:
            Whether the lesion is visible.
        """
        box, inner = _overlap(at, rendered.core.shape[0], self.brain.shape)
        rendered = rendered.part(inner)
        inside = cv2.GaussianBlur(self.brain[box].astype(np.float32), (0, 0), 0.7)
        swelling = rendered.oedema * self._white(box) * inside * (1 - self.taken[box])
        share = rendered.core * inside
        judged = next((channel for channel in (POST, FLAIR) if self.smooth[..., channel].any()), PRE)
        before = self.pixels[box][..., judged].copy()
        self._paint(box, rendered, share, swelling, appearance)
        np.maximum(self.oedema[box], swelling, out=self.oedema[box])
        return self._record(box, share, np.abs(self.pixels[box][..., judged] - before), judged)

    def _white(self, box: tuple[slice, slice]) -> Float32Array:
        """How far oedema can spread, from 0 to 1: in white matter, not in cortex or fluid."""
        ratio = self.smooth[box] / self.middle
        fluid = np.clip((ratio[..., POST] - 0.55) / 0.2, 0, 1)
        if self.smooth[box][..., FLAIR].any():
            fluid = fluid * np.clip((ratio[..., FLAIR] - 0.55) / 0.2, 0, 1)
        white = fluid * np.clip((self.depth_mm[box] - 2.0) / 2.0, 0, 1)
        return np.asarray(cv2.GaussianBlur(white.astype(np.float32), (0, 0), 1.2), np.float32)

    def _paint(
        self,
        box: tuple[slice, slice],
        rendered: RenderedLesion,
        share: Float32Array,
        swelling: Float32Array,
        appearance: Appearance,
    ) -> None:
        """Blend a lesion in; the noise of the slice stays."""
        pixels, smooth = self.pixels[box], self.smooth[box]
        for channel in (PRE, FLAIR, POST):
            middle = self.middle[channel]
            ground = smooth[..., channel]
            change = swelling * (appearance.oedema[channel] - 1) * ground
            swollen = ground + change
            enhancing = appearance.enhancing[channel] * middle * rendered.texture
            inner = (share - rendered.necrosis).clip(0) * enhancing + rendered.necrosis * appearance.necrosis[
                channel
            ] * middle
            if channel == POST and rendered.post is not None:
                inner = share * rendered.post * middle
            elif appearance.haemorrhage:
                inner = inner + rendered.haemorrhage * (
                    appearance.haemorrhage[channel] * middle * rendered.texture - enhancing
                )
            pixels[..., channel] += change + inner - share * swollen

    def _record(self, box: tuple[slice, slice], share: Float32Array, change: Float32Array, judged: int) -> bool:
        """Record the truth; an invisible lesion is unknown, not absent."""
        peak = float(share.max(initial=0))
        shown = float(np.percentile(change[share > 0.5 * peak], 75)) if peak > 0 else 0.0
        limit = max(MIN_CHANGE * float(self.middle[judged]), MIN_CHANGE_NOISE * float(self.noise[judged]))
        seen = peak >= MIN_PEAK and shown >= limit
        core = (share / max(peak, 1e-3)).clip(0, 1) if seen else np.zeros_like(share)
        np.maximum(self.core[box], core, out=self.core[box])
        if not seen:
            self.unknown[box] |= share > 0.05
        around = cv2.dilate((share > 0.02).astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
        self.taken[box] |= around
        return seen

    def draw_vessel(self, random: Random) -> None:
        """Draw a thin, winding, bright vessel, as in and near sulci; it is not a lesion."""
        found = np.flatnonzero(self.brain & ~self.taken)
        if not len(found):
            return
        row, column = np.unravel_index(int(random.choice(found)), self.brain.shape)
        steps, heading = int(random.integers(6, 30)), random.uniform(0, 2 * np.pi)
        turns = np.cumsum(random.normal(0, 0.25, steps)) + heading
        path = np.stack([column + np.cumsum(np.cos(turns)), row + np.cumsum(np.sin(turns))], -1)
        fine = VESSEL_SUPERSAMPLING
        canvas = np.zeros((self.brain.shape[0] * fine, self.brain.shape[1] * fine), np.uint8)
        width = max(1, round(random.uniform(0.7, 2.0) / self.pixel_mm * fine))
        cv2.polylines(canvas, [np.rint(path * fine).astype(np.int32)], False, 255, width, cv2.LINE_AA)
        tube = cv2.resize(canvas, self.brain.shape[::-1], interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        tube *= self.brain * ~self.taken
        gain = random.uniform(0.2, 1.0)
        self.pixels[..., POST] += tube * ((1 + gain) * self.middle[POST] - self.smooth[..., POST]).clip(0)
        self.taken[:] |= tube > 0.1


def shows_enough_brain(brain: Mask, pixel_mm: float) -> bool:
    """Whether a slice shows enough brain to draw into.

    Args:
        brain: bool, (row, column).
        pixel_mm: side of a pixel.

    Returns:
        False also where the mask is likely to be face.
    """
    return bool(brain.sum() * pixel_mm**2 >= MIN_BRAIN_MM2 and solidity(brain) >= MIN_SOLIDITY)


def _overlap(at: tuple[int, int], side: int, shape: tuple[int, ...]) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """The overlap of a square map, centred on a pixel, with a slice: as boxes of the slice and of the map."""
    box, inner = [], []
    for middle, full in zip(at, shape, strict=True):
        first = middle - side // 2
        start, stop = max(first, 0), min(first + side, full)
        box.append(slice(start, stop))
        inner.append(slice(start - first, stop - first))
    return (box[0], box[1]), (inner[0], inner[1])
