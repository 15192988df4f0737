"""Visits of one phantom patient: the head lies, is cropped, resolved, shaded and noisy otherwise at each of them.

Lesions are balls of known position and size in the head, so that their masks are exact on the grid of every visit.
"""

from dataclasses import dataclass, field
from datetime import date
from functools import cache

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from metseg.contracts import Result, Structure, StructureMeasurements
from metseg.followup import TimePoint
from metseg.imaging import POST, Affine, Float32Array, Mask, Spacing, canonical_grid, label_lesions, measure
from metseg.phantom import head

ENHANCED = 235.0

Ball = tuple[tuple[float, float, float], float]
"""The centre of a lesion in RAS+ millimetres of the head, and its diameter."""


@dataclass(frozen=True)
class Scanner:
    """How a visit was acquired.

    Attributes:
        turn_degrees: rotation of the head about the three axes.
        shift_mm: of the head.
        spacing_mm: between slices, rows and columns.
        size_mm: of the field of view, in the order of `spacing_mm`.
        channel: the sequence.
        bias: by how much the coil shades across the head, as a share.
        noise: standard deviation, in 8-bit levels.
        gain: brightness.
    """

    turn_degrees: tuple[float, float, float] = (0.0, 0.0, 0.0)
    shift_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    spacing_mm: Spacing = (1.5, 1.2, 1.2)
    size_mm: tuple[float, float, float] = (126.0, 220.0, 200.0)
    channel: int = POST
    bias: float = 0.0
    noise: float = 0.0
    gain: float = 1.0

    @property
    def motion(self) -> Affine:
        """From RAS+ millimetres of the head to those of the scanner, (4, 4)."""
        matrix = np.eye(4)
        matrix[:3, :3] = Rotation.from_euler("xyz", self.turn_degrees, degrees=True).as_matrix()
        matrix[:3, 3] = self.shift_mm
        return matrix


@dataclass(frozen=True, eq=False)
class Visit:
    """A scan of the head, with the mask of its lesions."""

    pixels: Float32Array
    mask: Mask
    affine: Affine
    scanner: Scanner = field(default_factory=Scanner)


@cache
def _head():
    return head(5, slices=84, size_px=160, lesions=0, spacing_mm=(1.5, 1.4, 1.4)).volume


def scan(lesions: list[Ball], scanner: Scanner = Scanner(), seed: int = 0) -> Visit:
    """Scan the head with some lesions.

    Args:
        lesions: balls in the head.
        scanner: how it is acquired.
        seed: of the noise.
    """
    shape = tuple(int(size / side) for size, side in zip(scanner.size_mm, scanner.spacing_mm, strict=True))
    affine = np.diag([-scanner.spacing_mm[2], -scanner.spacing_mm[1], scanner.spacing_mm[0], 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape[::-1]) - 1) / 2)
    indices = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)[..., ::-1]
    in_head = np.linalg.inv(scanner.motion) @ affine
    points = indices @ in_head[:3, :3].T + in_head[:3, 3]
    mask = np.zeros(shape, bool)
    for centre, diameter in lesions:
        mask |= np.linalg.norm(points - centre, axis=-1) <= diameter / 2
    base = _head()
    to_voxel = np.linalg.inv(base.affine)
    at = (points @ to_voxel[:3, :3].T + to_voxel[:3, 3])[..., ::-1]
    pixels = ndimage.map_coordinates(
        base.pixels[..., scanner.channel].astype(np.float32), np.moveaxis(at, -1, 0), order=1, mode="constant"
    )
    pixels[mask] = ENHANCED
    rng = np.random.default_rng(seed)
    shading = 1 + scanner.bias * points[..., 0] / 80
    pixels = scanner.gain * pixels * shading + rng.normal(0, scanner.noise, shape)
    return Visit(pixels.clip(0, 255).astype(np.float32), mask, affine, scanner)


def registration_error_mm(found: Affine, fixed: Scanner, moving: Scanner) -> float:
    """The largest error of a registration over the brain, in millimetres.

    Args:
        found: from the scanner's millimetres of one visit to those of the other.
        fixed: how the one was acquired.
        moving: how the other was.
    """
    true = moving.motion @ np.linalg.inv(fixed.motion)
    brain = np.stack(np.meshgrid([-60, 0, 60], [-75, 0, 75], [-40, 10, 55]), axis=-1).reshape(-1, 3)
    points = np.c_[brain, np.ones(len(brain))] @ fixed.motion.T
    return float(np.linalg.norm((points @ (found - true).T)[:, :3], axis=1).max())


def time_point(visit: Visit, taken_on: date | None = None, structure: Structure = "core") -> TimePoint:
    """The visit as a follow-up reads it, segmented without error.

    Args:
        visit: as from `scan`.
        taken_on: its date.
        structure: what its lesions are components of.
    """
    spacing = visit.scanner.spacing_mm
    lesions = measure(visit.mask, spacing, visit.mask.astype(np.float32), visit.affine)
    measured = StructureMeasurements(threshold=0.5, seed_threshold=0.5, min_voxels=1, voxels=0, volume_mm3=0)
    result = Result(
        job_id=f"{len(lesions):032x}",
        model_version="phantom",
        network="phantom",
        structure=structure,
        structures={structure: measured},
        shape=visit.mask.shape,
        spacing_mm=spacing,
        lesions=lesions,
        slices=[],
        warnings=[],
        durations_s={},
        grid=canonical_grid(visit.mask.shape[::-1], visit.affine),
    )
    pixels = np.repeat(visit.pixels.astype(np.uint8)[..., None], 3, axis=-1)
    present = tuple(channel == visit.scanner.channel for channel in range(3))
    return TimePoint(result, label_lesions(visit.mask), pixels, present, visit.affine, taken_on)
