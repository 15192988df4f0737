"""Sources: what a sample can be drawn from, prepared once as serving would and kept in memory-mapped files.

A patient is seen whole, slice by slice as if each had been uploaded alone, with metastases drawn into it, and without
its skull; a network that has seen all four serves all four.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from metseg.contracts import Preprocessing
from metseg.errors import UnusableImage
from metseg.imaging import Geometry, ModelInput, Volume
from metseg_trainer.data import dataset
from metseg_trainer.data.dataset import Mask, Patient
from metseg_trainer.data.lesion_synthesis import implant
from metseg_trainer.data.samples import Study, prepare, prepare_lone
from metseg_trainer.data.skull_stripping import brain_mask, strip
from metseg_trainer.runs.locks import in_turn
from metseg_trainer.training.checkpoints import explained
from metseg_trainer.training.config import Recipe, Source

__all__ = ["build"]

REVISION = 4
"""Changes with what `_MAKERS` make, so that files of an earlier release are not taken for today's."""
DRAWINGS = 3
"""How many times metastases are drawn into each patient, differently each time."""


def build(
    patients: Sequence[Patient], preprocessing: Preprocessing, recipe: Recipe, folder: Path
) -> dict[Source, list[Study]]:
    """Every source that the recipe draws from, from files where they were made before.

    Args:
        patients: of the training side.
        preprocessing: the contract with serving.
        recipe: its shares tell the sources, its seed the drawings.
        folder: for the files; what is there is taken only if it was made from the same. A second process that wants
            the same waits for the first.

    Raises:
        DatasetError: a file of a patient has changed or gone.
        TrainingFailed: the disk is full, or the memory too small.
    """
    wanted: list[Source] = [source for source, share in recipe.shares.items() if share > 0]
    told = [REVISION, dataset.fingerprint(patients), preprocessing.model_dump(), recipe.seed]
    built = {}
    for source in wanted:
        digest = hashlib.sha256(json.dumps([*told, source]).encode()).hexdigest()[:16]
        place = folder / f"{source}-{digest}"
        with explained(folder), in_turn(folder):
            if not (place / "index.json").exists():
                _write(place, _made(source, patients, preprocessing, recipe.seed))
        built[source] = _read(place)
    return built


def _made(source: Source, patients: Sequence[Patient], preprocessing: Preprocessing, seed: int) -> Iterator[Study]:
    for patient in tqdm(patients, desc=f"Preparing {source}", unit="patient", disable=None):
        volume, mask = dataset.load(patient)
        yield from _MAKERS[source](patient.id, volume, mask, preprocessing, seed)


def _whole(patient: str, volume: Volume, mask: Mask, preprocessing: Preprocessing, _: int) -> Iterator[Study]:
    yield prepare(patient, volume, mask, preprocessing)


def _lone(patient: str, volume: Volume, mask: Mask, preprocessing: Preprocessing, _: int) -> Iterator[Study]:
    yield from prepare_lone(patient, volume, mask, preprocessing)


def _implanted(patient: str, volume: Volume, mask: Mask, preprocessing: Preprocessing, seed: int) -> Iterator[Study]:
    """Slices without a lesion of the patient's own, or those would be drawn in the small ones' place."""
    clear = np.asarray(~mask.any(axis=(1, 2)))
    if not clear.any():
        return
    for drawing in range(DRAWINGS):
        drawn = implant(volume, mask, _seed(patient, seed, drawing))
        yield prepare(patient, drawn.volume, drawn.labels > 0, preprocessing).part(clear)


def _stripped(patient: str, volume: Volume, mask: Mask, preprocessing: Preprocessing, _: int) -> Iterator[Study]:
    brain = brain_mask(volume)
    try:
        yield prepare(patient, strip(volume, brain | mask), mask, preprocessing)
    except UnusableImage:  # no brain was found
        return


_MAKERS: dict[Source, Callable[[str, Volume, Mask, Preprocessing, int], Iterator[Study]]] = {
    "whole": _whole,
    "lone": _lone,
    "implanted": _implanted,
    "stripped": _stripped,
}


def _seed(patient: str, seed: int, drawing: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{patient} {seed} {drawing}".encode()).digest()[:4])


def _write(place: Path, studies: Iterable[Study]) -> None:
    """All pixels in one file, all truths in another, and last the index that tells whose they are."""
    place.mkdir(parents=True, exist_ok=True)
    index = []
    with (place / "pixels.bin").open("wb") as pixels, (place / "truth.bin").open("wb") as truth:
        for study in studies:
            pixels.write(np.ascontiguousarray(study.prepared.pixels).data)
            truth.write(np.ascontiguousarray(study.truth).data)
            geometry = study.prepared.geometry
            index.append(
                {
                    "patient": study.patient,
                    "mean": study.prepared.mean.tolist(),
                    "deviation": study.prepared.deviation.tolist(),
                    "occupied": study.prepared.occupied.tolist(),
                    "geometry": [
                        geometry.shape, geometry.frame, geometry.origin, geometry.box, geometry.reference_px,
                    ],
                }
            )  # fmt: skip
    partial = place / "index.partial"
    partial.write_text(json.dumps(index))
    partial.replace(place / "index.json")


def _read(place: Path) -> list[Study]:
    pixels = np.memmap(place / "pixels.bin", np.uint8, "r")
    truth = np.memmap(place / "truth.bin", np.uint8, "r")
    studies, begin = [], 0
    for row in json.loads((place / "index.json").read_text()):
        *shapes, reference_px = row["geometry"]
        shape, frame, origin, box = map(tuple, shapes)
        geometry = Geometry(shape, frame, origin, box, reference_px)
        size = (shape[0], *box)
        end = begin + int(np.prod(size))
        prepared = ModelInput(
            pixels[3 * begin : 3 * end].reshape(*size, 3),
            np.array(row["mean"], np.float32),
            np.array(row["deviation"], np.float32),
            np.array(row["occupied"], np.bool_),
            geometry,
        )
        studies.append(Study(row["patient"], prepared, truth[begin:end].reshape(size)))
        begin = end
    return studies
