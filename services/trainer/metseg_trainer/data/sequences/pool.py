"""The slices that the classifier of sequences is trained and measured on, cropped to the head."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from metseg import phantom
from metseg.imaging import (
    POST,
    Array,
    Mask,
    Present,
    Volume,
    assumed_slice_distance_mm,
    bounding_box,
    foreground_mask,
    present_sequences,
)
from metseg_trainer.data.dataset import Patient, load_patient
from metseg_trainer.data.skull_stripping import brain_mask
from metseg_trainer.data.structures.brisc import read_brisc_index, read_brisc_slice
from metseg_trainer.data.structures.single_slice_brain import single_slice_brain

__all__ = ["HeadSlice", "glioma_slices", "phantom_slices", "post_contrast_slices"]

MIN_HEAD_SHARE = 0.10
"""Slices that show less of a head are left out."""
REFORMATS = 5
"""Coronal and as many sagittal slices of each patient."""
MIN_REFORMATTED_SLICES = 12
MARGIN_PX = 4
PIXEL_MM = 0.9
PHANTOM_SIZES = (96, 128, 256)
PHANTOM_SEED = 90_000
"""Far from the seeds of the phantoms that tests and examples use."""


@dataclass(frozen=True, eq=False)
class HeadSlice:
    """A slice in one or more sequences, cropped to the head.

    Attributes:
        pixels: uint8, (row, column, channel); pre-contrast, FLAIR, post-contrast.
        present: which channels hold their sequence.
        brain: bool, (row, column); empty where it is not known.
        source: `lgg`, `brisc` or `phantom`.
        patient: of the slice; of BRISC, whose patients are not known, its name.
    """

    pixels: Array
    present: Present
    brain: Mask
    source: str
    patient: str


def glioma_slices(patients: Sequence[Patient]) -> Iterator[HeadSlice]:
    """The axial slices of patients with up to three sequences, and some coronal and sagittal ones made from them.

    Yields:
        Slices that show enough of a head.
    """
    for patient in patients:
        volume, _ = load_patient(patient)
        present = present_sequences(volume.pixels)
        yield from _slices(volume.pixels, brain_mask(volume), present, "lgg", patient.id)
        if len(volume.pixels) >= MIN_REFORMATTED_SLICES:
            for across in (1, 2):
                yield from _slices(*_reformatted(volume, across), present, "lgg", patient.id)


def post_contrast_slices(folder: Path, side: str) -> Iterator[HeadSlice]:
    """The slices of BRISC: post-contrast alone.

    Args:
        folder: of the data set.
        side: `train` or `validation`.

    Yields:
        Slices that show enough of a head.
    """
    for row in read_brisc_index(folder, side):
        volume, _ = read_brisc_slice(folder, row.name)
        above_face = row.plane == "axial" and row.tumour != "pituitary"
        brain = single_slice_brain(volume) if above_face else np.zeros(volume.shape, np.bool_)
        yield from _slices(volume.pixels, brain, (False, False, True), "brisc", row.name)


def phantom_slices(count: int, first: int = 0) -> Iterator[HeadSlice]:
    """The slices of phantoms of several sizes.

    Args:
        count: of the phantoms.
        first: number of the first one.

    Yields:
        Slices that show enough of a head.
    """
    for number in range(first, first + count):
        size = PHANTOM_SIZES[number % len(PHANTOM_SIZES)]
        drawn = phantom.head(PHANTOM_SEED + number, slices=16, size_px=size).volume
        yield from _slices(drawn.pixels, brain_mask(drawn), (True, True, True), "phantom", f"phantom-{number}")


def _slices(pixels: Array, brain: Mask, present: Present, source: str, patient: str) -> Iterator[HeadSlice]:
    heads = foreground_mask(np.ascontiguousarray(pixels.max(axis=-1)))
    for one, inside, head in zip(pixels, brain, heads, strict=True):
        if head.mean() >= MIN_HEAD_SHARE:
            rows, columns = (
                slice(max(0, part.start - MARGIN_PX), part.stop + MARGIN_PX) for part in bounding_box(head)
            )
            yield HeadSlice(one[rows, columns].copy(), present, inside[rows, columns].copy(), source, patient)


def _reformatted(volume: Volume, across: int) -> tuple[Array, Mask]:
    """Slices across an in-plane axis, top up, without brain masks."""
    slices = len(volume.pixels)
    height = max(2, round(slices * assumed_slice_distance_mm(slices) / PIXEL_MM))
    heads = foreground_mask(np.ascontiguousarray(volume.pixels[..., POST]))
    extent = np.flatnonzero(heads.any(axis=(0, 3 - across)))
    chosen = np.linspace(extent[0], extent[-1], REFORMATS + 4).round().astype(int)[2:-2]
    images = np.moveaxis(volume.pixels, across, 0)[chosen][:, ::-1]
    width = images.shape[2]
    scaled = np.stack([cv2.resize(np.ascontiguousarray(one), (width, height)) for one in images])
    return scaled, np.zeros(scaled.shape[:3], np.bool_)
