"""The folders of LGG and BRISC -> stores of training slices at model resolution."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from metseg.contracts import Preprocessing
from metseg.errors import DatasetError, UnusableImage
from metseg.imaging import (
    REFERENCE_PIXEL_MM,
    Array,
    Mask,
    Preprocessor,
    UInt8Array,
    Volume,
    crop_or_pad,
    equalise,
    head_mask,
    intensity_bounds,
    mean_and_deviation,
    rescale_intensity,
    resize,
)
from metseg_trainer.data.dataset import Patient, fingerprint, load_patient
from metseg_trainer.data.skull_stripping import brain_mask
from metseg_trainer.data.spacing import spacing_or_assumed_mm
from metseg_trainer.data.structures import store
from metseg_trainer.data.structures.brisc import BriscSlice, read_brisc_index, read_brisc_slice
from metseg_trainer.data.structures.single_slice_brain import single_slice_brain
from metseg_trainer.data.structures.store import Normalisation, StoredStudy, read_store, write_store

__all__ = ["PREPROCESSING", "normalise", "prepare_brisc", "prepare_lgg", "prepare_studies"]

PREPROCESSING = Preprocessing(pixel_scale=1.0, multiple=32, missing_sequences="zero")
"""A model pixel is 0.9 mm, so a slice of the public data is not resampled; the whole is found at half of that."""
REVISION = 1
"""Changes with the format, so that stores of an earlier release are not used."""
SINGLE_SLICE_MM = 6.0
"""Assumed thickness of a single slice."""


def prepare_lgg(patients: Sequence[Patient], folder: Path) -> Sequence[StoredStudy]:
    """The glioma patients: whole is known, core only outside of it.

    Args:
        patients: of the training side.
        folder: for the store, which is reused if it was made from the same files.

    Returns:
        The studies.

    Raises:
        DatasetError: a file of a patient has changed or gone.
    """
    bar = tqdm(patients, desc="Preparing LGG", unit="patient", disable=None)
    return _prepared(folder, "lgg", fingerprint(patients), map(_lgg_study, bar)) if patients else []


def prepare_studies(patients: Sequence[Patient], folder: Path) -> Sequence[StoredStudy]:
    """Studies of volumes whose core is known; their whole is not used.

    Args:
        patients: of the training side.
        folder: for the store, which is reused if it was made from the same files.

    Returns:
        The studies.

    Raises:
        DatasetError: a file of a patient has changed or gone.
    """
    bar = tqdm(patients, desc="Preparing studies", unit="study", disable=None)
    meanings = sorted(repr(_meaning(patient)) for patient in patients)
    return _prepared(folder, "studies", f"{fingerprint(patients)} {meanings}", map(_study, bar)) if patients else []


def prepare_brisc(brisc: Path | None, folder: Path) -> Sequence[StoredStudy]:
    """The training side of BRISC: core is known, whole is not.

    Args:
        brisc: the data set's folder; None without it.
        folder: for the store, which is reused if it was made from the same index.

    Returns:
        The slices, each a study.

    Raises:
        DatasetError: the index or a file cannot be read, or no slice can be used.
    """
    if brisc is None:
        return []
    rows = read_brisc_index(brisc, "train")
    bar = tqdm(rows, desc="Preparing BRISC", unit="slice", disable=None)
    studies = _prepared(folder, "brisc", repr(rows), _brisc_studies(brisc, bar))
    if not studies:
        raise DatasetError(f"No slice in {brisc} can be used.")
    return studies


def _prepared(folder: Path, name: str, made_from: str, studies: Iterable[StoredStudy]) -> Sequence[StoredStudy]:
    """The store of that name; written first if it is missing."""
    digest = hashlib.sha256(json.dumps([REVISION, made_from, PREPROCESSING.model_dump()]).encode()).hexdigest()[:16]
    place = folder / f"{name}-{digest}"
    if (stored := read_store(place)) is None:
        write_store(studies, place)
        stored = read_store(place)
    return stored or []


def _lgg_study(patient: Patient) -> StoredStudy:
    volume, mask = load_patient(patient)
    brain = brain_mask(volume)
    brain |= mask & np.asarray(brain.any(axis=(1, 2)))[:, None, None]
    near = np.stack([cv2.dilate(one.astype(np.uint8), np.ones((3, 3), np.uint8)) for one in mask]) > 0
    flags = mask * np.uint8(store.WHOLE) + near * np.uint8(store.CORE_UNKNOWN) + brain * np.uint8(store.BRAIN)
    return _stored(patient.id, "lgg", volume, flags)


def _meaning(patient: Patient) -> tuple[str, list[str]]:
    """The labels of the core, which a labels.yaml can change without a change of the files."""
    core = patient.files.labels.core if patient.files is not None else None
    return patient.id, sorted(map(str, core)) if isinstance(core, frozenset) else [str(core)]


def _study(patient: Patient) -> StoredStudy:
    volume, core = load_patient(patient)
    flags = core * np.uint8(store.CORE) + (brain_mask(volume) | core) * np.uint8(store.BRAIN)
    return _stored(patient.id, "study", volume, flags + np.uint8(store.WHOLE_UNKNOWN))


def _brisc_studies(folder: Path, rows: Iterable[BriscSlice]) -> Iterator[StoredStudy]:
    for row in rows:
        volume, mask = read_brisc_slice(folder, row.name)
        above_face = row.plane == "axial" and row.tumour != "pituitary"
        brain = single_slice_brain(volume) if above_face else np.zeros(volume.shape, np.bool_)
        if brain.any():
            brain |= mask
        flags = mask * np.uint8(store.CORE) + brain * np.uint8(store.BRAIN) + np.uint8(store.WHOLE_UNKNOWN)
        try:
            yield _stored(row.name, f"brisc-{row.plane}", volume, flags)
        except UnusableImage:  # a blank slice
            continue


def _stored(patient: str, source: str, volume: Volume, flags: UInt8Array) -> StoredStudy:
    """Scale a study to model resolution and crop it to its head."""
    geometry = Preprocessor(PREPROCESSING).prepare(volume).geometry
    frame, origin, box = geometry.frame, geometry.origin, geometry.box
    scaled = resize(_as_uint8(volume.pixels), frame)
    head = head_mask(scaled, frame)
    if frame != volume.shape[1:]:
        flags = np.stack([cv2.resize(one, frame[::-1], interpolation=cv2.INTER_NEAREST) for one in flags])
    flags = crop_or_pad(flags | head * np.uint8(store.HEAD), origin, box)
    pixels = crop_or_pad(scaled * np.array(volume.present, np.uint8), origin, box)
    brain = (flags & store.BRAIN) > 0
    single = len(pixels) == 1
    between_mm = SINGLE_SLICE_MM if single else spacing_or_assumed_mm(volume)[0]
    return StoredStudy(
        patient,
        source,
        volume.present,
        (between_mm, REFERENCE_PIXEL_MM / PREPROCESSING.pixel_scale, REFERENCE_PIXEL_MM / PREPROCESSING.pixel_scale),
        None if single else normalise(pixels, (flags & store.HEAD) > 0)[1],
        None if single or not brain.any() else normalise(pixels * brain[..., None], brain)[1],
        pixels,
        flags,
    )


def _as_uint8(pixels: Array) -> UInt8Array:
    """Studies of more than 8 bits, rescaled between their extremes."""
    if pixels.dtype == np.uint8:
        return np.asarray(pixels, np.uint8)
    extremes = np.stack([pixels.min(axis=(0, 1, 2)), pixels.max(axis=(0, 1, 2))]).astype(np.float32)
    rescale = rescale_intensity(pixels.dtype, extremes)
    return np.stack([rescale(one) for one in pixels])


def normalise(pixels: UInt8Array, head: Mask, known: Normalisation | None = None) -> tuple[UInt8Array, Normalisation]:
    """Rescale and equalise as serving does.

    Args:
        pixels: uint8, (slice, row, column, channel), cropped to the box of the head.
        head: bool, (slice, row, column).
        known: the normalisation of the study that the slices are of; None computes their own.

    Returns:
        uint8 pixels after CLAHE, and their normalisation.
    """
    bounds = (
        intensity_bounds(pixels, head, PREPROCESSING)
        if known is None
        else np.array([known.low, known.high], np.float32)
    )
    equalised = equalise(pixels, rescale_intensity(pixels.dtype, bounds), PREPROCESSING)
    if known is not None:
        return equalised, known
    mean, deviation = mean_and_deviation([one[inside] for one, inside in zip(equalised, head, strict=True)])
    figures = (bounds[0], bounds[1], mean, np.maximum(deviation, 1))
    return equalised, Normalisation(*(tuple(map(float, figure)) for figure in figures))
