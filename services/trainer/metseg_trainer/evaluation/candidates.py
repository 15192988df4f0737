"""Candidates for lesions: the components of a probability map above a low threshold, compared with the truth.

A candidate is a lesion if its highest probability reaches a second, higher threshold. All such thresholds together are
the free-response curve (FROC; Bunch et al. 1978): lesions found against false ones per patient.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from metseg.contracts import FrocPoint, OperatingPoint
from metseg.imaging import Float32Array, Float64Array, LabelMap, Mask
from metseg_trainer.evaluation.lesionwise import count_shared_voxels, label_components

__all__ = ["Candidates", "LesionCase", "Peaks", "free_response"]

SEED_THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99, 0.995)
"""At which the curve is computed, from the low threshold on."""


@dataclass(frozen=True, eq=False)
class LesionCase:
    """A validation patient whose lesions are known one by one.

    Attributes:
        probability: float32 in [0, 1], (slice, row, column).
        labels: int32, the same shape: n where the n-th lesion is.
        unknown: bool, the same shape, where the truth is unknown; None if it is known.
        voxel_mm3: volume of a voxel.
    """

    probability: Float32Array
    labels: LabelMap
    unknown: Mask | None
    voxel_mm3: float


@dataclass(frozen=True, eq=False)
class Candidates:
    """The components of a study above a low threshold, numbered from 0.

    Attributes:
        peaks: the highest probability of each.
        sizes: their voxels outside of unknown truth.
        volumes_mm3: of each.
        excused: whether each touches a true lesion or unknown truth.
        overlaps: int64, (lesion, component): the voxels that they share.
        lesion_sizes: the voxels of each lesion.
    """

    peaks: Float64Array
    sizes: npt.NDArray[np.int64]
    volumes_mm3: Float64Array
    excused: Mask
    overlaps: npt.NDArray[np.int64]
    lesion_sizes: npt.NDArray[np.int64]

    @classmethod
    def of(cls, case: LesionCase, low: float) -> "Candidates":
        """Find the components.

        Args:
            case: a study.
            low: the threshold.

        Returns:
            The components.
        """
        components = label_components(case.probability >= low)
        count = int(components.max())
        known = np.ones(components.shape, np.bool_) if case.unknown is None else ~case.unknown
        shared = count_shared_voxels(case.labels, components)
        excused: Mask = np.asarray((shared[1:] > 0).any(axis=0), np.bool_)
        excused[np.unique(components[~known])] = True
        return cls(
            np.asarray(ndimage.maximum(case.probability, components, np.arange(1, count + 1)), np.float64).reshape(-1),
            np.bincount(components[known], minlength=count + 1)[1:],
            np.asarray(np.bincount(components.ravel(), minlength=count + 1)[1:] * case.voxel_mm3, np.float64),
            excused[1:],
            shared[1:, 1:],
            shared[1:].sum(axis=1),
        )


@dataclass(frozen=True)
class Peaks:
    """The highest probabilities of a patient.

    Attributes:
        lesions: of the components that touch each true lesion; 0 where none does.
        false: of the components that touch neither a lesion nor unknown truth.
        low: the threshold of the components.
    """

    lesions: Sequence[float]
    false: Sequence[float]
    low: float

    @classmethod
    def of(cls, case: LesionCase, point: OperatingPoint) -> "Peaks":
        """Measure a study.

        Args:
            case: the study.
            point: whose threshold and smallest volume are applied.

        Returns:
            Its peaks.
        """
        found = Candidates.of(case, point.threshold)
        peaks = np.where(found.volumes_mm3 >= point.min_volume_mm3, found.peaks, 0.0)
        at_lesions = ((found.overlaps > 0) * peaks).max(axis=1, initial=0.0)
        return cls(at_lesions.tolist(), peaks[~found.excused & (peaks > 0)].tolist(), point.threshold)


def free_response(patients: Iterable[Peaks]) -> list[FrocPoint]:
    """The free-response curve of some patients.

    Args:
        patients: their peaks.

    Returns:
        Points by rising seed threshold; none without a lesion.
    """
    studies = list(patients)
    lesions = np.array([peak for one in studies for peak in one.lesions])
    false = np.array([peak for one in studies for peak in one.false])
    low = max((one.low for one in studies), default=0.0)
    seeds = [low, *(seed for seed in SEED_THRESHOLDS if seed > low)] if len(lesions) else []
    return [
        FrocPoint(
            seed_threshold=seed,
            sensitivity=float((lesions >= seed).mean()),
            false_positives=float((false >= seed).sum() / len(studies)),
        )
        for seed in seeds
    ]
