"""Anatomy: a schematic adult head, drawn tissue by tissue, for the phantoms.

Coordinates are millimetres in the head: x to the patient's left, y to the back, z to the vertex; the origin
lies between the thalami. Shapes are given by signed distances in millimetres, positive inside. Sizes are those
of an adult as atlases draw them, rounded; no person's scan went into them.
"""

from dataclasses import dataclass
from enum import IntEnum

import cv2
import numpy as np

from metseg.imaging import Float32Array, Mask, UInt8Array
from metseg.phantom.shapes import Coordinates, capsule, ellipsoid

__all__ = ["Anatomy", "Tissue", "draw_anatomy"]

HEIGHT_MM = 120.0
"""What a scan covers of the head, from the orbits to the vertex."""
MIDDLE_MM = 14.0
"""The height of the scan's middle above the thalami."""


class Tissue(IntEnum):
    """The tissue of a voxel."""

    AIR = 0
    SKIN = 1
    FAT = 2
    MUSCLE = 3
    BONE = 4
    MARROW = 5
    CSF = 6
    GREY = 7
    WHITE = 8
    DEEP_GREY = 9
    CEREBELLAR_GREY = 10
    STEM = 11
    CHOROID = 12
    VESSEL = 13
    EYE = 14
    LENS = 15
    DURA = 16
    MUCOSA = 17


@dataclass(frozen=True, eq=False)
class Anatomy:
    """A head.

    Attributes:
        tissue: the `Tissue` of each voxel, uint8.
        brain: bool: grey and white matter with the fluid in its sulci, without ventricles.
        cortex_mm: depth below the nearest surface or sulcus of the brain.
        region: uint8: 0 cerebrum, 1 cerebellum, 2 brain stem; meaningful where `brain`.
    """

    tissue: UInt8Array
    brain: Mask
    cortex_mm: Float32Array
    region: UInt8Array


def draw_anatomy(rng: np.random.Generator, at: Coordinates) -> Anatomy:
    """Draw a head.

    Args:
        rng: draws its shape; equal states give equal heads.
        at: the voxels of the scan.

    Returns:
        The head, one value per voxel.
    """
    warped = at.warp(rng, 1.5, 45)
    folded = Coordinates(np.abs(warped.x), warped.y, warped.z, at.pixel_mm)
    bent = folded.warp(rng, 1.8, 14)
    tissue = np.zeros(at.x.shape, np.uint8)
    skull_mm = _shell(rng, tissue, warped)
    _face(rng, tissue, folded, at)
    case_mm = _brain_case(folded, skull_mm)
    tissue[case_mm > -3.5] = Tissue.BONE
    tissue[case_mm > 0] = Tissue.DURA
    tissue[case_mm > 0.8] = Tissue.CSF
    region, cortex_mm = _brain(rng, tissue, case_mm, at=at, folded=folded, bent=bent)
    _deep(rng, tissue, bent)
    _fluid(rng, tissue, bent)
    brain = np.isin(tissue, (Tissue.GREY, Tissue.WHITE, Tissue.DEEP_GREY, Tissue.CEREBELLAR_GREY, Tissue.STEM))
    furrows = np.where(region == 1, (cortex_mm > 0) & (folded.x > 5), (cortex_mm < 1.2) & (folded.x > 2))
    brain |= (tissue == Tissue.CSF) & furrows & (case_mm > 4.5)
    _vessels(rng, tissue, folded, at, case_mm)
    return Anatomy(tissue, brain, cortex_mm, region)


def _shell(rng: np.random.Generator, tissue: UInt8Array, at: Coordinates) -> Float32Array:
    """Scalp and skull; returns the depth below the skull's inner table."""
    below = Coordinates(at.x, at.y, np.where(at.z < 0, at.z * np.float32(0.45), at.z), at.pixel_mm)
    depth = ellipsoid(below, (0, 2, 0), (76, 95, 81))
    scalp, skull = rng.uniform(4.5, 7.5), rng.uniform(6.0, 8.0)
    nose = capsule(at, (0, -88, -60), (0, -92, -22), 9)
    tissue[(depth > 0) | (nose > 0)] = Tissue.SKIN
    tissue[(depth > 1.6) | (nose > 2)] = Tissue.FAT
    temple = (np.abs(at.x) > 45) & (at.z < 12) & (depth > 0.45 * scalp)
    tissue[temple] = Tissue.MUSCLE
    tissue[depth > scalp] = Tissue.BONE
    tissue[(depth > scalp + 0.28 * skull) & (depth < scalp + 0.68 * skull)] = Tissue.MARROW
    return depth - np.float32(scalp + skull)


def _face(rng: np.random.Generator, tissue: UInt8Array, folded: Coordinates, at: Coordinates) -> None:
    """What lies below and before the brain: orbits, sinuses, muscles. `folded` has both sides on one."""
    bands = at.noise(rng, 7)
    low = (tissue >= Tissue.MUSCLE) & (at.z < np.clip(4 - (at.y + 20) / 2, -60, -6))
    tissue[low] = np.where(bands[low] > 0.8, Tissue.FAT, Tissue.MUSCLE)
    cone = capsule(folded, (31, -72, -31), (14, -34, -27), 13) - np.clip((folded.y + 72) * np.float32(0.25), 0, 9)
    tissue[cone > -2] = Tissue.BONE
    tissue[cone > 0] = Tissue.FAT
    for start, end in (((22, -70, -31), (13, -36, -27)), ((41, -68, -31), (17, -36, -27))):
        tissue[capsule(folded, start, end, 1.8) > 0] = Tissue.MUSCLE
    tissue[capsule(folded, (31, -66, -31), (14, -34, -26), 1.8) > 0] = Tissue.STEM
    eye = ellipsoid(folded, (31, -74, -31), (12, 12.5, 12))
    tissue[eye > -1] = Tissue.MUSCLE
    tissue[eye > 0] = Tissue.EYE
    tissue[ellipsoid(folded, (31, -84, -31), (4.5, 2.2, 4.5)) > 0] = Tissue.LENS
    nose = capsule(folded, (0, -78, -48), (0, -30, -30), 13)
    tissue[nose > -2] = Tissue.BONE
    tissue[nose > 0] = np.where(np.abs(bands[nose > 0]) < 0.3, Tissue.MUCOSA, Tissue.AIR)
    tissue[(nose > 0) & (folded.x < 1)] = Tissue.MUCOSA
    frontal = ellipsoid(folded, (9, -80, -4), (14, 5, 12))
    tissue[frontal > -1.5] = Tissue.BONE
    tissue[frontal > 0] = Tissue.AIR
    mastoid = ellipsoid(folded, (54, 28, -44), (12, 14, 16))
    tissue[mastoid > -1] = Tissue.BONE
    tissue[(mastoid > 0) & (bands > 0.4)] = Tissue.AIR


def _brain_case(folded: Coordinates, skull_mm: Float32Array) -> Float32Array:
    """Signed distance to the inside of the skull, whose base steps up before the temples and the sella."""
    height, inside = folded.z, skull_mm
    front = np.interp(height, [-46, -36, -24, -12, -6], [-10, -38, -52, -70, -110]).astype(np.float32)
    tips = np.interp(height, [-30, -14], [34, 0]).astype(np.float32)
    inside = np.minimum(inside, folded.y - front - np.float32(0.008) * (folded.x - tips) ** 2)
    sella = capsule(folded, (0, -70, -44), (0, -22, -40), 16)
    case: Float32Array = np.minimum(inside, -sella)
    return case


def _brain(
    rng: np.random.Generator,
    tissue: UInt8Array,
    case_mm: Float32Array,
    *,
    at: Coordinates,
    folded: Coordinates,
    bent: Coordinates,
) -> tuple[UInt8Array, Float32Array]:
    """Grey and white matter of cerebrum, cerebellum and stem; returns the regions and the cortex's depth."""
    cerebellum = np.minimum(ellipsoid(folded, (0, 47, -42), (52, 36, 30)), case_mm - np.float32(3))
    stem = np.minimum(ellipsoid(folded, (0, 9, -36), (16, 14, 60)), np.float32(-6) - folded.z)
    surface = np.minimum(case_mm - np.float32(rng.uniform(2.0, 3.5)), _fissure(folded))
    cortex = np.minimum(surface, np.minimum(_furrows(rng, folded, at, surface), _sylvian(bent)))
    width, grey_mm = rng.uniform(0.35, 0.9), rng.uniform(2.7, 3.3)
    cerebrum = (surface > 0) & (cortex > width)
    tissue[cerebrum] = np.where(cortex[cerebrum] < width + grey_mm, Tissue.GREY, Tissue.WHITE)
    leaf = cerebellum > 0
    tissue[(cerebellum > -1.5) & (case_mm > 1)] = Tissue.CSF
    tissue[leaf] = _folia(rng, folded, at, cerebellum)[leaf]
    tissue[(stem > -3) & (folded.z < -6) & (case_mm > 1) & ~leaf] = Tissue.CSF
    tissue[stem > 0] = Tissue.STEM
    region = np.where(stem > 0, 2, np.where(leaf, 1, 0)).astype(np.uint8)
    return region, np.where(stem > 0, stem, np.where(leaf, cerebellum, cortex)).astype(np.float32)


def _fissure(folded: Coordinates) -> Float32Array:
    """Distance to the fissure between the hemispheres, bridged by the callosum and what lies below it."""
    bridge = ellipsoid(folded, (0, 2, 4), (60, 38, 20))
    depth: Float32Array = folded.x - np.float32(0.9) + np.float32(2) * np.clip(bridge, 0, 16)
    return depth


def _furrows(rng: np.random.Generator, folded: Coordinates, at: Coordinates, surface: Float32Array) -> Float32Array:
    """Distance to the sulci, which run in from the surface along the zero lines of smooth noise."""
    fine, coarse = at.noise(rng, 6), at.noise(rng, 14)
    pattern = fine - np.float32(0.5) * coarse
    inwards = np.float32(0.35) * np.clip(surface, 0, 40)
    sides = np.where(at.x < 0, np.float32(-1), np.float32(1))
    radius = np.hypot(folded.x, folded.y) + np.float32(1)
    flat = np.clip((np.float32(66) - at.z) / 40, 0, 1)
    shift = flat * inwards / radius / np.float32(at.pixel_mm)
    rows, columns = np.indices(pattern.shape[1:], np.float32)
    drawn = np.stack(
        [
            cv2.remap(level, columns + side * x * by, rows + y * by, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
            for level, side, x, y, by in zip(
                pattern, sides, folded.x, np.broadcast_to(folded.y, pattern.shape), shift, strict=True
            )
        ]
    )
    slopes = np.gradient(drawn, at.pixel_mm, axis=(1, 2))
    distance = np.abs(drawn) / np.sqrt(slopes[0] ** 2 + slopes[1] ** 2 + np.float32(0.01))
    reach = np.float32(13) + np.float32(5) * coarse
    narrowing = np.float32(0.7) * np.clip(surface - reach, 0, None) - np.exp(-surface.clip(0) / 4)
    depth: Float32Array = distance + narrowing
    return depth


def _sylvian(folded: Coordinates) -> Float32Array:
    """Distance to the Sylvian fissure and the insula."""
    upright = Coordinates(folded.x, folded.y, np.clip(np.abs(folded.z - 2) - 9, 0, None), folded.pixel_mm)
    cleft = capsule(upright, (72, -2, 0), (44, -6, 0), 0.9)
    insula = capsule(upright, (40, -22, 0), (43, 13, 0), 0.5)
    return -np.maximum(cleft, insula)


def _folia(rng: np.random.Generator, folded: Coordinates, at: Coordinates, cerebellum: Float32Array) -> UInt8Array:
    """The cerebellum's leaves: fine furrows across it, around a white core on both sides."""
    ragged = at.noise(rng, 6)
    wave = np.sin((folded.y + np.float32(0.2) * folded.x + ragged) * np.float32(2 * np.pi / 4.6))
    tissue = np.full(wave.shape, Tissue.CEREBELLAR_GREY, np.uint8)
    tissue[(cerebellum > 10 + 2.5 * ragged) & (folded.x > 6)] = Tissue.WHITE
    tissue[(wave > 0.8) & (cerebellum < 8 + 2 * ragged)] = Tissue.CSF
    return tissue


def _deep(rng: np.random.Generator, tissue: UInt8Array, folded: Coordinates) -> None:
    """Thalamus, lentiform and caudate nucleus, and the corpus callosum's white matter."""
    cerebral = np.isin(tissue, (Tissue.GREY, Tissue.WHITE))
    size = rng.uniform(0.92, 1.08)
    callosum = ellipsoid(folded, (0, 2, 4), (30, 40, 20))
    tissue[(callosum > 0) & cerebral] = Tissue.WHITE
    nuclei = (
        ((9, 8, 3), (8, 14, 9)),
        ((25, -4, 3), (7, 17, 10)),
        ((14, -20, 8), (5, 10, 9)),
    )
    for centre, radii in nuclei:
        a, b, c = (size * radius for radius in radii)
        tissue[(ellipsoid(folded, centre, (a, b, c)) > 0) & cerebral] = Tissue.DEEP_GREY


def _fluid(rng: np.random.Generator, tissue: UInt8Array, folded: Coordinates) -> None:
    """Ventricles with their choroid plexus, and the cisterns at the brain's base."""
    wide = rng.uniform(0.75, 1.35)
    inside = np.isin(tissue, (Tissue.GREY, Tissue.WHITE, Tissue.DEEP_GREY, Tissue.STEM, Tissue.CEREBELLAR_GREY))
    ventricles = (
        ((4, -14, 14), (11, -32, 8), 4.0),
        ((5, -14, 17), (9, 20, 19), 4.0),
        ((10, 20, 18), (21, 36, 6), 5.5),
        ((21, 36, 6), (24, 54, 4), 3.0),
        ((29, 26, -4), (33, -8, -20), 2.2),
        ((0, 22, -24), (0, 29, -42), 3.8),
    )
    for start, end, radius in ventricles:
        tissue[(capsule(folded, start, end, radius * wide) > 0) & inside] = Tissue.CSF
    tissue[(ellipsoid(folded, (0, 0, 1), (2.2 * wide, 13, 9)) > 0) & inside] = Tissue.CSF
    for start, end, radius in (((0, -16, -18), (16, -12, -16), 5.0), ((0, 26, -4), (14, 26, -10), 3.5)):
        tissue[(capsule(folded, start, end, radius) > 0) & (tissue > Tissue.MARROW)] = Tissue.CSF
    tissue[(capsule(folded, (12, 22, 16), (21, 33, 7), 2.2 * wide) > 0) & inside] = Tissue.CHOROID


def _vessels(
    rng: np.random.Generator, tissue: UInt8Array, folded: Coordinates, at: Coordinates, case_mm: Float32Array
) -> None:
    """The venous sinuses, the arteries at the base, and veins that run through the furrows."""
    sinuses = (
        capsule(folded, (0, 88, 14), (0, 60, 66), 3.4),
        capsule(folded, (0, -60, 58), (0, 60, 66), 2.8),
        capsule(folded, (0, 84, 0), (0, 34, 6), 1.8),
        capsule(folded, (0, 84, -14), (54, 52, -26), 3.0),
    )
    sagittal = (folded.x < 3.2) & (case_mm > 0.5) & (case_mm < 5) & (at.z > 10)
    arteries = (
        capsule(folded, (0, -3, -22), (0, -2, -60), 1.5),
        capsule(folded, (7, -18, -30), (8, -16, -18), 2.2),
        capsule(folded, (8, -16, -18), (36, -12, -12), 1.3),
        capsule(folded, (1.2, -22, -16), (1.2, -50, 8), 1.0),
    )
    fluid = (tissue == Tissue.CSF) | (tissue == Tissue.DURA)
    course = np.abs(at.noise(rng, 9)) < 0.17
    veins = fluid & course & (case_mm > 0) & (np.abs(at.noise(rng, 15)) < 0.8)
    ventricle = (folded.x < 34) & (np.abs(folded.y - 10) < 50) & (at.z < 26) & (case_mm > 12)
    tissue[veins & ~ventricle] = Tissue.VESSEL
    tissue[sagittal] = Tissue.VESSEL
    for vessel in (*sinuses, *arteries):
        tissue[(vessel > 0) & (case_mm > 0)] = Tissue.VESSEL
