"""A stored slice as a sample: some of its sequences, with or without skull, metastases drawn into it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from metseg.imaging import Float32Array, Mask, Present, UInt8Array, bounding_box
from metseg_trainer.data.structures import store
from metseg_trainer.data.structures.config import StructureSamplingConfig
from metseg_trainer.data.structures.donors import Donor, with_donor
from metseg_trainer.data.structures.drawing import Canvas
from metseg_trainer.data.structures.lesion_model import draw_diameter_mm, draw_lesion
from metseg_trainer.data.structures.rendering import SliceGeometry, render_slice
from metseg_trainer.data.structures.store import Normalisation, StoredStudy

__all__ = ["Palette", "SliceTruth", "sample_slice"]

MIN_BRAIN_PX = 2000
MULTIPLE = 16
CANDIDATES = 8
"""Candidates for a diameter, since a slice is likelier to cut a large lesion."""
MAX_LESIONS, LESIONS_P = 12, 0.4
"""Lesions in a slice that has any follow a geometric distribution: 2.5 on average."""
LARGE_P, LARGE_MM = 0.12, (12.0, 50.0)
"""Share of the lesions with a uniform diameter in this range: the distribution has too few large, hollow ones."""
RIM_VARIATION = (0.1, 0.9)
"""Range of a lesion's `rim_variation`. Test studies keep its default, so that versions stay comparable."""
SLICE_MM = (1.0, 6.0)
AS_THICK_AS_STUDY_P = 0.4
DONOR_CONTRAST, DONOR_SIGMA = 0.7, 0.45
TRUTH_BITS = (store.CORE, store.CORE_UNKNOWN)

Random = np.random.Generator


@dataclass(frozen=True, eq=False)
class SliceTruth:
    """A slice with its truth.

    Attributes:
        pixels: uint8, (row, column, channel); 0 in missing sequences.
        planes: float32, (row, column, 2), in [0, 1]: the core, and where it is unknown.
        normalisation: of the study; None for a slice that is normalised alone.
        head: bool, (row, column).
        present: which of pre, FLAIR and post it shows.
    """

    pixels: UInt8Array
    planes: Float32Array
    normalisation: Normalisation | None
    head: Mask
    present: Present


@dataclass(frozen=True, eq=False)
class Palette:
    """The parameters of drawn lesions: shares, and donors of texture."""

    config: StructureSamplingConfig
    donors: Sequence[Donor]


def sample_slice(study: StoredStudy, index: int, palette: Palette, random: Random, *, drawn: bool) -> SliceTruth:
    """A slice with a random choice of its sequences, stripped or not.

    Args:
        study: of the slice.
        index: of the slice.
        palette: shares and donors.
        random: of every draw.
        drawn: whether metastases are drawn into it, if there is room.

    Returns:
        The slice and its truth.
    """
    flags = np.asarray(study.flags[index])
    present = _choose_sequences(study.present, palette.config, random)
    shown = np.array(present, np.uint8)
    pixels = study.pixels[index] * shown
    planes = np.stack([(flags & bit) > 0 for bit in TRUTH_BITS], -1).astype(np.float32)
    vessels = random.random() < palette.config.vessels
    if (drawn or vessels) and (canvas := Canvas.of(pixels, flags, study.spacing_mm[1])) is not None:
        if vessels:
            _draw_vessels(canvas, random)
        if drawn:
            _draw_lesions(canvas, study.spacing_mm[0], present, palette, random)
        pixels = np.rint(canvas.pixels.clip(0, 255)).astype(np.uint8) * shown
        planes = _with_drawn(planes, canvas)
    head = (flags & store.HEAD) > 0
    sample = SliceTruth(pixels, planes, study.normalisation, head, present)
    brain = (flags & store.BRAIN) > 0
    if brain.sum() > MIN_BRAIN_PX and random.random() < palette.config.stripped:
        sample = _stripped(sample, brain, study.stripped_normalisation)
    return replace(sample, normalisation=None) if random.random() < palette.config.lone else sample


def _choose_sequences(available: Present, config: StructureSamplingConfig, random: Random) -> Present:
    """At least one of the available sequences."""
    options = [
        choice
        for choice in config.sequences
        if all(has or not shows for has, shows in zip(available, choice, strict=True))
    ]
    shares = np.array([config.sequences[option] for option in options])
    return options[int(random.choice(len(options), p=shares / shares.sum()))]


def _draw_vessels(canvas: Canvas, random: Random) -> None:
    for _ in range(int(random.integers(1, 4))):
        canvas.draw_vessel(random)


def _draw_lesions(canvas: Canvas, thickness_mm: float, present: Present, palette: Palette, random: Random) -> None:
    config, donors = palette.config, palette.donors
    for _ in range(min(MAX_LESIONS, int(random.geometric(LESIONS_P)))):
        diameter = _diameter_in_slice_mm(random)
        at = canvas.place(present, random)
        if at is None:
            return
        thickness = thickness_mm if random.random() < AS_THICK_AS_STUDY_P else float(random.uniform(*SLICE_MM))
        reach = 0.8 * (diameter + thickness) / 2
        shift = float(random.uniform(-0.5, 0.5)), float(random.uniform(-0.5, 0.5))
        lesion = replace(draw_lesion(diameter, random), rim_variation=float(random.uniform(*RIM_VARIATION)))
        geometry = SliceGeometry(float(random.uniform(-reach, reach)), thickness, canvas.pixel_mm, shift)
        rendered = render_slice(lesion, geometry)
        if donors and random.random() < config.donated:
            contrast = float(DONOR_CONTRAST * np.exp(DONOR_SIGMA * random.standard_normal()))
            rendered = with_donor(rendered, donors[int(random.integers(len(donors)))], contrast, lesion.blur_px, random)
        canvas.draw(rendered, lesion.appearance, at)


def _diameter_in_slice_mm(random: Random) -> float:
    """The diameter of a lesion in a slice."""
    if random.random() < LARGE_P:
        return float(random.uniform(*LARGE_MM))
    sizes = np.array([draw_diameter_mm(random) for _ in range(CANDIDATES)])
    weights = sizes + 3.0
    return float(random.choice(sizes, p=weights / weights.sum()))


def _with_drawn(planes: Float32Array, canvas: Canvas) -> Float32Array:
    """The truth with the drawn lesions; it is unknown where a lesion is invisible."""
    return np.maximum(planes, np.stack([canvas.core, canvas.unknown], -1)).astype(np.float32)


def _stripped(sample: SliceTruth, brain: Mask, normalisation: Normalisation | None) -> SliceTruth:
    """The sample without skull, cropped to its brain as serving would."""
    rows, columns = (_widened(side, length) for side, length in zip(bounding_box(brain), brain.shape, strict=True))
    inside = brain[rows, columns]
    return SliceTruth(
        sample.pixels[rows, columns] * inside[..., None],
        sample.planes[rows, columns] * inside[..., None],
        normalisation,
        inside,
        sample.present,
    )


def _widened(side: slice, length: int) -> slice:
    """A side of whole multiples of 16, if the slice is large enough."""
    extent = side.stop - side.start
    size = -(-extent // MULTIPLE) * MULTIPLE
    start = max(0, min(side.start - (size - extent) // 2, length - size))
    return slice(start, min(length, start + size))
