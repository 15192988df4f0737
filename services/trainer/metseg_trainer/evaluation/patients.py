"""The patients that a model is evaluated on: a plan's, and the same with drawn metastases."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from metseg.contracts import Structure
from metseg.imaging import CHANNELS, LabelMap, Mask, Volume
from metseg_trainer.data import (
    Patient,
    brain_mask,
    enhancing_mask,
    implant_lesions,
    lesion_free_run,
    load_patient,
    spacing_or_assumed_mm,
)

__all__ = ["EvaluationPatient", "implanted_patients", "load_patients"]


MIN_SLICES = 4
"""The shortest run of slices without glioma into which metastases are drawn."""


@dataclass(frozen=True, eq=False)
class EvaluationPatient:
    """A patient with the truth.

    Attributes:
        id: of the patient.
        site: the clinic.
        volume: the study.
        truth: bool, (slice, row, column).
        spacing_mm: between slices, rows and columns, assumed if the study stores none.
        structure: that the truth is of.
        unknown: bool, the same shape: where the truth is unknown, so that nothing counts; None if it is known.
        labels: its lesions, numbered, if known; None uses the connected components of the truth.
        diameters_mm: of the numbered lesions, if known.
        vessels: enhancing structures other than lesions, if known.
    """

    id: str
    site: str
    volume: Volume
    truth: Mask
    spacing_mm: tuple[float, float, float]
    structure: Structure = "whole"
    unknown: Mask | None = None
    labels: LabelMap | None = None
    diameters_mm: tuple[float, ...] | None = None
    vessels: Mask | None = None

    @classmethod
    def from_volume(cls, id: str, site: str, volume: Volume, truth: Mask) -> "EvaluationPatient":
        """A patient of whom only the mask is known.

        Args:
            id: of the patient.
            site: the clinic.
            volume: the study.
            truth: bool, (slice, row, column).

        Returns:
            The patient, with an assumed spacing if the study stores none.
        """
        return cls(id, site, volume, truth, spacing_or_assumed_mm(volume))

    @property
    def missing_sequences(self) -> tuple[str, ...]:
        """The sequences that the study lacks."""
        return tuple(name for name, present in zip(CHANNELS, self.volume.present, strict=True) if not present)


def load_patients(patients: Sequence[Patient]) -> Iterator[EvaluationPatient]:
    """Patients unchanged, one after the other."""
    for patient in patients:
        yield EvaluationPatient.from_volume(patient.id, patient.site, *load_patient(patient))


def implanted_patients(patients: Sequence[Patient], seed: int) -> Iterator[EvaluationPatient]:
    """Patients with metastases drawn into the longest run of slices without glioma, so that the truth is known.

    Args:
        patients: those whose run is too short, or has no room, are left out.
        seed: of all draws; it differs from every training patient's.

    Yields:
        The run of slices of each patient.
    """
    for patient in patients:
        volume, truth = load_patient(patient)
        run = lesion_free_run(truth)
        if run.stop - run.start < MIN_SLICES:
            continue
        drawn = implant_lesions(volume, truth, _seed(patient.id, seed))
        if not drawn.diameters_mm:
            continue
        labels = drawn.labels[run]
        inside = sorted(set(labels[labels > 0].tolist()))
        if not inside:
            continue
        renumbered = sum((labels == old) * new for new, old in enumerate(inside, start=1))
        yield EvaluationPatient(
            id=patient.id,
            site=patient.site,
            volume=drawn.volume.part(run),
            truth=labels > 0,
            spacing_mm=spacing_or_assumed_mm(volume),
            labels=renumbered.astype(labels.dtype),
            diameters_mm=tuple(drawn.diameters_mm[old - 1] for old in inside),
            vessels=enhancing_mask(volume, brain_mask(volume))[run],
        )


def _seed(patient: str, seed: int) -> int:
    """A seed that differs from every training patient's."""
    return int.from_bytes(hashlib.sha256(f"test {patient} {seed}".encode()).digest()[:4])
