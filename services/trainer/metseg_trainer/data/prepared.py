"""Prepared sources of samples, prepared once as in serving and stored in memory-mapped files.

A patient is used whole, slice by slice as if each had been uploaded alone, with metastases drawn into it, and without
its skull, so that a network can serve all four kinds of input.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from metseg.atomic_io import atomic_write_bytes
from metseg.contracts import Preprocessing
from metseg.errors import UnusableImage
from metseg.imaging import Geometry, Mask, ModelInput, Volume
from metseg_trainer.data.config import SamplingConfig, Source
from metseg_trainer.data.dataset import Patient, fingerprint, load_patient
from metseg_trainer.data.lesion_synthesis import implant_lesions
from metseg_trainer.data.samples import PreparedStudy, prepare_single_slices, prepare_study
from metseg_trainer.data.skull_stripping import brain_mask, strip_skull

__all__ = ["prepare_sources"]

REVISION = 5
"""Changes with the output of `_MAKERS`, so that files of an earlier release are not used."""


@dataclass(frozen=True)
class _Settings:
    preprocessing: Preprocessing
    sampling: SamplingConfig
    seed: int


Maker = Callable[[str, Volume, Mask, _Settings], Iterator[PreparedStudy]]


def prepare_sources(
    patients: Sequence[Patient], preprocessing: Preprocessing, sampling: SamplingConfig, seed: int, folder: Path
) -> dict[Source, list[PreparedStudy]]:
    """Every source that samples are drawn from, read from files where they exist.

    Args:
        patients: of the training side.
        preprocessing: of the model.
        sampling: names the sources by their shares.
        seed: of the drawn lesions.
        folder: for the files, which are reused only if they were made from the same input. Processes that share a
            folder must take turns.

    Returns:
        Studies by source.

    Raises:
        DatasetError: a file of a patient has changed or gone.
    """
    wanted: list[Source] = [source for source, share in sampling.source_shares.items() if share > 0]
    made_from = [REVISION, fingerprint(patients), preprocessing.model_dump(), sampling.implantations, seed]
    persons = {patient.id: patient.person for patient in patients}
    sources = {}
    for source in wanted:
        digest = hashlib.sha256(json.dumps([*made_from, source]).encode()).hexdigest()[:16]
        place = folder / f"{source}-{digest}"
        if not (place / "index.json").exists():
            _write(place, _make(source, patients, _Settings(preprocessing, sampling, seed)))
        sources[source] = [replace(study, person=persons[study.patient]) for study in _read(place)]
    return sources


def _make(source: Source, patients: Sequence[Patient], settings: _Settings) -> Iterator[PreparedStudy]:
    for patient in tqdm(patients, desc=f"Preparing {source}", unit="patient", disable=None):
        volume, mask = load_patient(patient)
        yield from _MAKERS[source](patient.id, volume, mask, settings)


def _whole(patient: str, volume: Volume, mask: Mask, settings: _Settings) -> Iterator[PreparedStudy]:
    yield prepare_study(patient, volume, mask, settings.preprocessing)


def _lone(patient: str, volume: Volume, mask: Mask, settings: _Settings) -> Iterator[PreparedStudy]:
    yield from prepare_single_slices(patient, volume, mask, settings.preprocessing)


def _implanted(patient: str, volume: Volume, mask: Mask, settings: _Settings) -> Iterator[PreparedStudy]:
    """Only slices without a lesion of the patient's own, which otherwise would be drawn instead of the small ones."""
    clear = np.asarray(~mask.any(axis=(1, 2)))
    if not clear.any():
        return
    for implantation in range(settings.sampling.implantations):
        drawn = implant_lesions(volume, mask, _seed(patient, settings.seed, implantation))
        yield prepare_study(patient, drawn.volume, drawn.labels > 0, settings.preprocessing).select(clear)


def _stripped(patient: str, volume: Volume, mask: Mask, settings: _Settings) -> Iterator[PreparedStudy]:
    brain = brain_mask(volume)
    try:
        yield prepare_study(patient, strip_skull(volume, brain | mask), mask, settings.preprocessing)
    except UnusableImage:  # no brain was found
        return


_MAKERS: dict[Source, Maker] = {"whole": _whole, "lone": _lone, "implanted": _implanted, "stripped": _stripped}


def _seed(patient: str, seed: int, implantation: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{patient} {seed} {implantation}".encode()).digest()[:4])


def _write(place: Path, studies: Iterable[PreparedStudy]) -> None:
    """All pixels in one file, all truths in another, and last the index that makes them complete."""
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
                        geometry.shape, geometry.frame, geometry.origin, geometry.box, geometry.voxel_mm3,
                    ],
                }
            )  # fmt: skip
    atomic_write_bytes(place / "index.json", json.dumps(index).encode())


def _read(place: Path) -> list[PreparedStudy]:
    pixels = np.memmap(place / "pixels.bin", np.uint8, "r")
    truth = np.memmap(place / "truth.bin", np.uint8, "r")
    studies, begin = [], 0
    for row in json.loads((place / "index.json").read_text()):
        *shapes, voxel_mm3 = row["geometry"]
        shape, frame, origin, box = map(tuple, shapes)
        geometry = Geometry(shape, frame, origin, box, voxel_mm3)
        size = (shape[0], *box)
        end = begin + int(np.prod(size))
        prepared = ModelInput(
            pixels[3 * begin : 3 * end].reshape(*size, 3),
            np.array(row["mean"], np.float32),
            np.array(row["deviation"], np.float32),
            np.array(row["occupied"], np.bool_),
            geometry,
        )
        studies.append(PreparedStudy(row["patient"], prepared, truth[begin:end].reshape(size)))
        begin = end
    return studies
