"""Studies of which a structure is known: BRISC's slices, volumes with labels, and metastases drawn into gliomas."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from metseg.contracts import Structure
from metseg.errors import DatasetError
from metseg.imaging import FLAIR, POST, PRE, Mask, Present, Spacing, Volume
from metseg_trainer.data import Patient, brain_mask, enhancing_mask, load_patient, read_study, spacing_or_assumed_mm
from metseg_trainer.data.structures import (
    BRAIN,
    WHOLE,
    Canvas,
    SliceGeometry,
    draw_diameter_mm,
    draw_lesion,
    read_brisc_index,
    read_brisc_slice,
    render_slice,
)
from metseg_trainer.evaluation.corruptions import show_only
from metseg_trainer.evaluation.patients import EvaluationPatient

__all__ = ["brisc_slices", "drawn_patients", "volume_patients"]

LESIONS, MIN_DIAMETER_MM = 8, 3.0
"""Metastases drawn into a study."""
MIN_OEDEMA = 0.5
"""Strength of drawn oedema from which on a pixel is FLAIR abnormality."""
POST_ALONE = (False, False, True)
SINGLE_SLICE_MM: Spacing = (6.0, 0.9, 0.9)

Random = np.random.Generator


def brisc_slices(folder: Path, side: str) -> Iterator[EvaluationPatient]:
    """The axial slices of one side of BRISC, each a patient: core is known; the site is the kind of tumour.

    Args:
        folder: of the data set.
        side: `train` or `validation`.

    Yields:
        The slices in the order of the index.

    Raises:
        DatasetError: the index or a file cannot be read.
    """
    for row in read_brisc_index(folder, side):
        if row.plane == "axial":
            volume, mask = read_brisc_slice(folder, row.name)
            yield EvaluationPatient(row.name, row.tumour, volume, mask, SINGLE_SLICE_MM, "core")


def volume_patients(patients: Iterable[Patient], structure: Structure) -> Iterator[EvaluationPatient]:
    """Studies of volumes in whose labels a structure is known, a core only with post-contrast T1.

    Args:
        patients: studies with label maps.
        structure: that is evaluated.

    Yields:
        Those studies.

    Raises:
        DatasetError: a study is not one of volumes, or a file has changed or gone.
    """
    for patient in patients:
        if patient.files is None:
            raise DatasetError(f"{patient.id} is not a study of volumes with a label map.")
        study = read_study(patient.files)
        truth = study.truth.of(structure)
        if truth is not None and (structure == "whole" or study.volume.present[POST]):
            spacing_mm = spacing_or_assumed_mm(study.volume)
            yield EvaluationPatient(patient.id, patient.site, study.volume, truth, spacing_mm, structure)


def drawn_patients(
    patients: Iterable[Patient], *, post_alone: bool = False, structure: Structure = "core"
) -> Iterator[EvaluationPatient]:
    """Metastases drawn into glioma patients with post-contrast T1: both structures are known outside of the glioma.

    Args:
        patients: those without post-contrast T1, or that show too little brain, are left out.
        post_alone: show post-contrast T1 alone; otherwise all sequences that the patient has.
        structure: that is evaluated; the whole, core and oedema, of those with FLAIR.

    Yields:
        Patients; the draws differ between the two forms, but not between calls.

    Raises:
        DatasetError: a file has changed or gone.
    """
    for patient in patients:
        volume, mask = load_patient(patient)
        shown = POST_ALONE if post_alone else volume.present
        can_show = volume.present[POST] and (structure == "core" or shown[FLAIR])
        if can_show and volume.pixels.dtype == np.uint8:
            digest = hashlib.sha256(f"{patient.id} {shown}".encode()).digest()
            if drawn := _draw_into(patient, volume, mask, shown, np.random.default_rng([*digest[:4]])):
                core, oedema = drawn
                yield core if structure == "core" else _with_oedema(core, oedema)


def _draw_into(
    patient: Patient, volume: Volume, glioma: Mask, present: Present, random: Random
) -> tuple[EvaluationPatient, Mask] | None:
    """A patient whose core is known, and where oedema is; None if the study shows too little brain."""
    spacing_mm = spacing_or_assumed_mm(volume)
    brain = brain_mask(volume)
    flags = (brain * BRAIN + glioma * WHOLE).astype(np.uint8)
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
    unknown, oedema = glioma.copy(), np.zeros(volume.shape, np.bool_)
    for index, canvas in canvases.items():
        pixels[index] = np.rint(canvas.pixels.clip(0, 255))
        oedema[index] = canvas.oedema >= MIN_OEDEMA
        unknown[index] |= cv2.dilate(canvas.unknown.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    shown = show_only(replace(volume, pixels=pixels, present=present), PRE, FLAIR, POST)
    core = EvaluationPatient(
        id=patient.id,
        site=patient.site,
        volume=shown,
        truth=labels > 0,
        spacing_mm=spacing_mm,
        structure="core",
        unknown=unknown,
        labels=labels,
        diameters_mm=tuple(diameters),
        vessels=enhancing_mask(volume, brain),
    )
    return core, oedema


def _with_oedema(core: EvaluationPatient, oedema: Mask) -> EvaluationPatient:
    """The same patient, of whom the whole is known."""
    return replace(core, structure="whole", truth=core.truth | oedema, labels=None, diameters_mm=None)


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
