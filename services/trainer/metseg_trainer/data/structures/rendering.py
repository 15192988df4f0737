"""A lesion in a slice of any thickness, with partial volume and the blur of the scanner."""

from dataclasses import dataclass

import cv2
import numpy as np

from metseg.imaging import Float32Array
from metseg_trainer.data.structures.lesion_model import DrawnLesion

__all__ = ["RenderedLesion", "SliceGeometry", "render_slice"]

FOURFOLD_MM, THREEFOLD_MM = 5.0, 10.0
"""Lesions below these diameters are supersampled 4 and 3 times, others twice."""
HAEMORRHAGE_NOISE = -0.3
"""Where its noise exceeds this, a haemorrhagic lesion has bled."""


@dataclass(frozen=True)
class SliceGeometry:
    """A slice in relation to a lesion.

    Attributes:
        off_mm: from the lesion's centre to the middle of the slice.
        thickness_mm: of the slice.
        pixel_mm: side of a pixel.
        shift_px: of the lesion's centre within its pixel, along rows and columns.
    """

    off_mm: float
    thickness_mm: float
    pixel_mm: float
    shift_px: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, eq=False)
class RenderedLesion:
    """A lesion in one slice: float32 maps, (row, column), centred on it.

    Attributes:
        core: share of each pixel that is core.
        necrosis: share that is necrosis, part of the core.
        haemorrhage: share that has bled, part of the core.
        oedema: strength of the oedema.
        texture: factor of the enhancing part's brightness.
        post: brightness on post-contrast T1 in multiples of the brain's median, from a donor; None uses the
            appearance's.
    """

    core: Float32Array
    necrosis: Float32Array
    haemorrhage: Float32Array
    oedema: Float32Array
    texture: Float32Array
    post: Float32Array | None = None

    def part(self, box: tuple[slice, slice]) -> "RenderedLesion":
        """The maps within a box."""
        post = None if self.post is None else self.post[box]
        return RenderedLesion(
            self.core[box], self.necrosis[box], self.haemorrhage[box], self.oedema[box], self.texture[box], post
        )


def render_slice(lesion: DrawnLesion, geometry: SliceGeometry) -> RenderedLesion:
    """Render a lesion in a slice, with partial volume in and across the plane.

    Args:
        lesion: in millimetres.
        geometry: position and thickness of the slice.

    Returns:
        Square maps of an odd number of rows.
    """
    half = int(np.ceil((0.75 * lesion.diameter_mm + 1.6 * lesion.oedema_mm) / geometry.pixel_mm)) + 2
    reach = min(half, int(np.ceil(0.8 * lesion.diameter_mm / geometry.pixel_mm)) + 2)
    inner = _inner(lesion, geometry, reach)
    core, necrosis, haemorrhage, texture = (
        np.pad(part, half - reach, constant_values=fill) for part, fill in zip(inner, (0, 0, 0, 1), strict=True)
    )
    return RenderedLesion(core, necrosis, haemorrhage, _oedema(lesion, geometry, half), texture)


def _inner(
    lesion: DrawnLesion, geometry: SliceGeometry, reach: int
) -> tuple[Float32Array, Float32Array, Float32Array, Float32Array]:
    """Core, necrosis, haemorrhage and texture of a slice, averaged over a finer grid."""
    fine = 4 if lesion.diameter_mm < FOURFOLD_MM else 3 if lesion.diameter_mm < THREEFOLD_MM else 2
    unit = _fine_points(geometry, reach, fine) @ lesion.to_unit.T
    length = np.sqrt(np.einsum("...i,...i", unit, unit))
    depth_mm = (_surface(lesion, unit, length) - length) * lesion.diameter_mm / 2
    core = depth_mm > 0
    noise = lesion.inside.at(unit)
    hollow = np.isfinite(lesion.rim_mm)
    necrosis = depth_mm > lesion.rim_mm * (1 + lesion.rim_variation * noise).clip(0) if hollow else np.zeros_like(core)
    haemorrhage = (
        core & ~necrosis & (noise > HAEMORRHAGE_NOISE) if lesion.appearance.haemorrhage else np.zeros_like(core)
    )
    blur_px = lesion.blur_px
    shares = [_averaged(part.mean(axis=0, dtype=np.float32), fine, blur_px) for part in (core, necrosis, haemorrhage)]
    texture = _averaged((1 + lesion.texture * noise.clip(-2, 2)).mean(axis=0).astype(np.float32), fine, blur_px)
    return shares[0], shares[1], shares[2], texture


def _fine_points(geometry: SliceGeometry, reach: int, fine: int) -> Float32Array:
    """Points in millimetres from the lesion's centre: `fine` by `fine` per pixel, some across the slice."""
    samples = int(np.clip(round(geometry.thickness_mm / 0.7), 2, 7))
    depths = geometry.off_mm + geometry.thickness_mm * ((np.arange(samples) + 0.5) / samples - 0.5)
    line = (np.arange((2 * reach + 1) * fine) + 0.5) / fine - reach - 0.5
    rows, columns = ((line - shift) * geometry.pixel_mm for shift in geometry.shift_px)
    return np.stack(np.meshgrid(depths, rows, columns, indexing="ij"), -1).astype(np.float32)


def _surface(lesion: DrawnLesion, unit: Float32Array, length: Float32Array) -> Float32Array:
    """The distance of the outline from the centre in each direction, in units of the radius."""
    return 1 + lesion.ruggedness * lesion.outline.at((unit / np.maximum(length, 0.3)[..., None]).astype(np.float32))


def _averaged(fine_map: Float32Array, fine: int, blur_px: float) -> Float32Array:
    side = fine_map.shape[0] // fine
    blurred = cv2.GaussianBlur(fine_map, (0, 0), blur_px * fine)
    return np.asarray(blurred.reshape(side, fine, side, fine).mean(axis=(1, 3)), np.float32)


def _oedema(lesion: DrawnLesion, geometry: SliceGeometry, half: int) -> Float32Array:
    side = 2 * half + 1
    if not lesion.oedema_mm:
        return np.zeros((side, side), np.float32)
    line = (np.arange(side) - half) * geometry.pixel_mm
    points = np.stack(np.meshgrid([geometry.off_mm], line, line, indexing="ij"), -1)[0].astype(np.float32)
    unit = points @ lesion.to_unit.T
    length = np.sqrt(np.einsum("...i,...i", unit, unit))
    outside_mm = (length - _surface(lesion, unit, length)) * lesion.diameter_mm / 2
    noise = lesion.spread.at(points)
    edge = lesion.oedema_mm * (1 + 0.4 * noise) - outside_mm
    return np.asarray(1 / (1 + np.exp(-(edge / 1.0).clip(-20, 20))) * (1 + 0.12 * noise).clip(0.6, 1.3), np.float32)
