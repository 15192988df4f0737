"""Cases that networks with two structures are evaluated on: prepared as in serving, with the truth that is known."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from metseg.errors import DatasetError
from metseg.imaging import LabelMap, Mask, ModelInput, Preprocessor, Present, Spacing, Volume, present_sequences
from metseg_trainer.data import Patient, brain_mask, load_patient, read_study, spacing_or_assumed_mm
from metseg_trainer.data.structures import (
    BRAIN,
    PREPROCESSING,
    WHOLE,
    Canvas,
    SliceGeometry,
    draw_diameter_mm,
    draw_lesion,
    read_brisc_index,
    read_brisc_slice,
    render_slice,
)

__all__ = ["StructureCase", "brats_cases", "brisc_cases", "drawn_cases", "lgg_cases"]

LESIONS, MIN_DIAMETER_MM = 8, 3.0
"""Metastases drawn into a study."""
POST_ALONE = (False, False, True)
SINGLE_SLICE_MM: Spacing = (6.0, 0.9, 0.9)

Random = np.random.Generator


@dataclass(frozen=True, eq=False)
class StructureCase:
    """A study with its truth on its own grid.

    Attributes:
        name: of the study.
        model_input: of the study; the network sees 0 in channels of missing sequences.
        present: which of pre, FLAIR and post it has.
        spacing_mm: between slices, rows and columns.
        core: int32, (slice, row, column): its lesions numbered from 1; None if the core is unknown.
        whole: bool, (slice, row, column); None if the whole is unknown.
        unknown: bool, (slice, row, column): where the core is unknown; predictions there are not counted.
        diameters_mm: of the lesions in `core`, if they were drawn.
    """

    name: str
    model_input: ModelInput
    present: Present
    spacing_mm: Spacing
    core: LabelMap | None
    whole: Mask | None
    unknown: Mask | None = None
    diameters_mm: tuple[float, ...] = ()


def brisc_cases(folder: Path) -> Iterator[StructureCase]:
    """The axial slices of BRISC's validation side, each alone: core is known.

    Raises:
        DatasetError: the index or a file cannot be read.
    """
    for row in read_brisc_index(folder, "validation"):
        if row.plane == "axial":
            volume, mask = read_brisc_slice(folder, row.name)
            model_input = _prepared(volume, POST_ALONE)
            yield StructureCase(row.name, model_input, POST_ALONE, SINGLE_SLICE_MM, mask.astype(np.int32), None)


def lgg_cases(patients: Iterable[Patient]) -> Iterator[StructureCase]:
    """Glioma patients with the sequences that they have: whole is known.

    Raises:
        DatasetError: a file has changed or gone.
    """
    for patient in patients:
        volume, mask = load_patient(patient)
        present = present_sequences(volume.pixels)
        yield StructureCase(patient.id, _prepared(volume, present), present, spacing_or_assumed_mm(volume), None, mask)


def drawn_cases(patients: Iterable[Patient]) -> Iterator[StructureCase]:
    """Metastases drawn into glioma patients with post-contrast T1: core is known outside of the glioma.

    Each patient is a case with all sequences, and another with post-contrast T1 alone.

    Raises:
        DatasetError: a file has changed or gone.
    """
    for patient in patients:
        volume, mask = load_patient(patient)
        present = present_sequences(volume.pixels)
        if present[2] and volume.pixels.dtype == np.uint8:
            for shown in (present, POST_ALONE):
                digest = hashlib.sha256(f"{patient.id} {shown}".encode()).digest()
                if case := _drawn_case(patient.id, volume, mask, shown, np.random.default_rng([*digest[:4]])):
                    yield case


def brats_cases(patients: Iterable[Patient]) -> Iterator[StructureCase]:
    """Studies of volumes: the structures in their labels are known.

    Raises:
        DatasetError: a study is not one of volumes, or a file has changed or gone.
    """
    for patient in patients:
        if patient.files is None:
            raise DatasetError(f"{patient.id} is not a study of volumes with a label map.")
        study = read_study(patient.files)
        volume, truth = study.volume, study.truth
        present = present_sequences(volume.pixels)
        yield StructureCase(
            patient.id,
            _prepared(volume, present),
            present,
            spacing_or_assumed_mm(volume),
            None if truth.core is None else truth.core.astype(np.int32),
            truth.whole,
        )


def _prepared(volume: Volume, present: Present) -> ModelInput:
    """The model input; for finding the head, a missing sequence is replaced by a present one."""
    channels = [channel if has else present.index(True) for channel, has in enumerate(present)]
    pixels = np.ascontiguousarray(volume.pixels[..., channels])
    return Preprocessor(PREPROCESSING).prepare(Volume(pixels, volume.names, volume.spacing_mm, present=present))


def _drawn_case(patient: str, volume: Volume, glioma: Mask, present: Present, random: Random) -> StructureCase | None:
    """A study with metastases; None if it shows too little brain."""
    spacing_mm = spacing_or_assumed_mm(volume)
    flags = (brain_mask(volume) * BRAIN + glioma * WHOLE).astype(np.uint8)
    pixels = volume.pixels * np.array(present, np.uint8)
    canvases = {
        index: canvas
        for index, (one, bits) in enumerate(zip(pixels, flags, strict=True))
        if (canvas := Canvas.of(one, bits, spacing_mm[1])) is not None
    }
    if not canvases:
        return None
    labels, diameters = np.zeros(volume.shape, np.int32), []
    drawn = (max(MIN_DIAMETER_MM, draw_diameter_mm(random)) for _ in range(LESIONS))
    for diameter in sorted(drawn, reverse=True):
        before = {index: canvas.core.copy() for index, canvas in canvases.items()}
        if _draw(canvases, diameter, spacing_mm[0], present, random):
            diameters.append(diameter)
            for index, canvas in canvases.items():
                new = (canvas.core > before[index]) & (canvas.core >= 0.5) & (labels[index] == 0)
                labels[index][new] = len(diameters)
    unknown = glioma.copy()
    for index, canvas in canvases.items():
        pixels[index] = np.rint(canvas.pixels.clip(0, 255)) * np.array(present)
        unknown[index] |= cv2.dilate(canvas.unknown.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    model_input = _prepared(Volume(pixels, volume.names, volume.spacing_mm), present)
    return StructureCase(patient, model_input, present, spacing_mm, labels, None, unknown, tuple(diameters))


def _draw(canvases: dict[int, Canvas], diameter_mm: float, between_mm: float, present: Present, random: Random) -> bool:
    """Draw a lesion into all slices that it reaches; returns whether it is visible."""
    lesion, index = draw_lesion(diameter_mm, random), int(random.choice(sorted(canvases)))
    at = canvases[index].place(present, random)
    if at is None:
        return False
    shift = float(random.uniform(-0.5, 0.5)), float(random.uniform(-0.5, 0.5))
    offset, seen = float(random.uniform(-0.4, 0.4)), False
    for other, canvas in canvases.items():
        off_mm = (other - index + offset) * between_mm
        if abs(off_mm) < 0.75 * diameter_mm + between_mm:
            rendered = render_slice(lesion, SliceGeometry(off_mm, between_mm, canvas.pixel_mm, shift))
            seen |= canvas.draw(rendered, lesion.appearance, at)
    return seen
