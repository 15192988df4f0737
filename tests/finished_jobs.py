"""Finished jobs as in the store: phantoms with known lesions."""

import io
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import numpy as np
from tests.models import tiny_card
from tests.segmentations import segmentation_of

from metseg import phantom
from metseg.contracts import ModelCard, Result
from metseg.formats.dicom import store_source
from metseg.imaging import Volume, lesions
from metseg.results import SLICE_ARCHIVE, SliceArchive, build
from metseg.results.exports import FinishedJob, Writer


@dataclass
class PhantomJob(FinishedJob):
    """A finished job on a phantom; `asked` lists the objects read."""

    volume: Volume
    mask: np.ndarray
    figures: Result
    artefacts: dict[str, bytes]
    of_model: ModelCard | None = field(default_factory=lambda: tiny_card(b"model"))
    asked: list[str] = field(default_factory=list)

    def result(self) -> Result:
        return self.figures

    def model_card(self) -> ModelCard | None:
        return self.of_model

    def finished_at(self) -> datetime:
        return datetime(2026, 1, 2, 3, 4, tzinfo=UTC)

    def open_artefact(self, name: str) -> io.BytesIO:
        self.asked.append(name)
        return io.BytesIO(self.artefacts[name])

    def slice_png(self, index: int) -> bytes:
        self.asked.append(f"slice {index}")
        return SliceArchive(io.BytesIO(self.artefacts[SLICE_ARCHIVE])).read_slice(index)


def job_that_found(volume: Volume, mask: np.ndarray, whole: np.ndarray | None = None) -> PhantomJob:
    """A finished job on a volume, with this core and whole; without `whole` they are the same."""
    probability = np.where(mask, np.float32(0.75), np.float32(0.25))
    measured = lesions.measure(mask, volume.spacing_mm, probability, volume.affine)
    found = segmentation_of(probability, mask, measured, whole=whole)
    result = build.build_result("0" * 32, volume, found, tiny_card(b"model"), {})
    result = Result.model_validate_json(result.model_dump_json())
    return PhantomJob(volume, mask, result, build.build_artefacts(volume, found))


def planned(volume: Volume, core: np.ndarray, whole: np.ndarray | None = None) -> PhantomJob:
    """The same on a DICOM study, with its headers."""
    job = job_that_found(volume, core, whole)
    job.artefacts |= store_source(volume)
    return job


def of_whole_alone(job: PhantomJob) -> PhantomJob:
    """The same job by a model that knows no core."""
    structures = {"whole": job.figures.structures["whole"]}
    job.figures = job.figures.model_copy(update={"structure": "whole", "structures": structures})
    return job


def finished_job(seed: int = 3, slices: int = 5, found: int = 2, size_px: int = 64, **changes: object) -> PhantomJob:
    """A job on a head with `found` lesions; `changes` are of its volume."""
    head = phantom.head(seed, slices=slices, size_px=size_px, lesions=found)
    volume = replace(head.volume, **changes)
    probability = head.mask * np.float32(0.75)
    measured = lesions.measure(head.mask, volume.spacing_mm, probability)
    segmentation = segmentation_of(probability, head.mask, measured, volume.warnings)
    figures = build.build_result("0" * 32, volume, segmentation, tiny_card(b"model"), {})
    return PhantomJob(volume, head.mask, figures, build.build_artefacts(volume, segmentation))


def made(write: Writer, job: FinishedJob, *arguments: object) -> bytes:
    """The file that an export writes."""
    target = io.BytesIO()
    write(job, target, *arguments)
    return target.getvalue()
