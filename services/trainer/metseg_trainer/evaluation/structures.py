"""Evaluation by structure: operating points from validation patients, then every set of studies with a known truth."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from metseg.contracts import OperatingPoint, Structure
from metseg.imaging import Float32Array, Mask, Preprocessor, Volume
from metseg.inference import Predictor, predict
from metseg_trainer.data import Patient
from metseg_trainer.evaluation.candidates import LesionCase
from metseg_trainer.evaluation.corruptions import CORRUPTIONS
from metseg_trainer.evaluation.evaluate import evaluate_model
from metseg_trainer.evaluation.lesionwise import label_components
from metseg_trainer.evaluation.operating_point import (
    choose_lesion_operating_point,
    choose_operating_point,
    choose_single_slice_seed,
)
from metseg_trainer.evaluation.patients import EvaluationPatient, load_patients
from metseg_trainer.evaluation.result import EvaluationResult
from metseg_trainer.evaluation.structure_patients import brisc_slices, drawn_patients, volume_patients

__all__ = [
    "STUDIES_WHOLE",
    "WHOLE_SET",
    "StructureData",
    "choose_structure_points",
    "evaluate_structures",
    "format_structures",
    "structure_sets",
]

WHOLE_SET, DRAWN_CORE = "gliomas, whole", "drawn metastases, core"
DRAWN_POST_ALONE, DRAWN_WHOLE = "drawn metastases, core, post-contrast T1 alone", "drawn metastases, whole"
BRISC_CORE, VOLUMES_CORE, VOLUMES_WHOLE = "BRISC axial validation slices, core", "volumes, core", "volumes, whole"
STUDIES_CORE, STUDIES_WHOLE = "test studies, core", "test studies, whole"


@dataclass(frozen=True, eq=False)
class StructureData:
    """The studies that networks of core and whole are evaluated on.

    Attributes:
        validation: glioma patients, on whom the operating points are chosen.
        test: glioma patients, who choose nothing.
        brisc: the folder of BRISC, whose validation side chooses nothing either; None without it.
        volumes: studies of volumes with label maps, which choose nothing.
        validation_studies: studies whose core is known, on which the operating points are chosen as well.
        test_studies: studies whose core is known, which choose nothing.
    """

    validation: Sequence[Patient]
    test: Sequence[Patient]
    brisc: Path | None
    volumes: Sequence[Patient] = ()
    validation_studies: Sequence[Patient] = ()
    test_studies: Sequence[Patient] = ()


@dataclass(frozen=True)
class StructureSet:
    """Studies whose truth of a structure is known; `studies` reads them again."""

    structure: Structure
    studies: Callable[[], Iterator[EvaluationPatient]]


def choose_structure_points(
    predictor: Predictor, validation: Sequence[Patient], studies: Sequence[Patient] = ()
) -> dict[Structure, OperatingPoint]:
    """The operating points of a model of core and whole.

    Args:
        predictor: the model, at any operating points; `mirrored_from` is kept, and so is the point of the whole if no
            study's whole is known.
        validation: glioma patients: as they are for the whole, with drawn metastases for both, for the core also as
            single slices.
        studies: whose core is known: for the core, as studies and as single slices, and for the whole where they show
            it.

    Returns:
        Points by structure, core first.

    Raises:
        DatasetError: a file has changed or gone.
    """
    drawn = chain(drawn_patients(validation), drawn_patients(validation, post_alone=True))
    cores = chain(drawn, volume_patients(studies, "core"))
    cases = (
        LesionCase(
            predict(one.volume, predictor)["core"],
            label_components(one.truth) if one.labels is None else one.labels,
            one.unknown,
            _voxel_mm3(one.volume, predictor),
        )
        for one in cores
    )
    wholes = chain(
        load_patients(validation), drawn_patients(validation, structure="whole"), volume_patients(studies, "whole")
    )
    slices = chain(drawn_patients(validation, post_alone=True), volume_patients(studies, "core"))
    core = choose_single_slice_seed(choose_lesion_operating_point(cases), _single_slices(slices, predictor))
    former = predictor.operating_points
    return {
        "core": core.model_copy(update={"mirrored_from": former["core"].mirrored_from}),
        "whole": choose_operating_point((_whole_case(one, predictor) for one in wholes), otherwise=former["whole"]),
    }


def _whole_case(one: EvaluationPatient, predictor: Predictor) -> tuple[Float32Array, Mask, float]:
    """Probability and truth of the whole, both absent where the truth is unknown, and the volume of a voxel."""
    probability, voxel_mm3 = predict(one.volume, predictor)["whole"], _voxel_mm3(one.volume, predictor)
    known = np.ones_like(one.truth) if one.unknown is None else ~one.unknown
    return probability * known, one.truth & known, voxel_mm3


def _single_slices(patients: Iterable[EvaluationPatient], predictor: Predictor) -> Iterator[LesionCase]:
    """The slices of studies that show a core, each predicted alone."""
    for one in patients:
        for index, volume in enumerate(one.volume.single_slices()):
            labels = one.truth[index : index + 1]
            if volume is not None and labels.any():
                unknown = None if one.unknown is None else one.unknown[index : index + 1]
                probability = predict(volume, predictor)["core"]
                yield LesionCase(probability, label_components(labels), unknown, _voxel_mm3(volume, predictor))


def structure_sets(data: StructureData) -> dict[str, StructureSet]:
    """The sets of studies by name, each with the structure that it is evaluated on; some may be empty."""
    return {
        WHOLE_SET: StructureSet("whole", lambda: load_patients(data.test)),
        DRAWN_CORE: StructureSet("core", lambda: drawn_patients(data.test)),
        DRAWN_POST_ALONE: StructureSet("core", lambda: drawn_patients(data.test, post_alone=True)),
        DRAWN_WHOLE: StructureSet("whole", lambda: drawn_patients(data.test, structure="whole")),
        BRISC_CORE: StructureSet("core", lambda: brisc_slices(data.brisc, "validation") if data.brisc else iter(())),
        VOLUMES_CORE: StructureSet("core", lambda: volume_patients(data.volumes, "core")),
        VOLUMES_WHOLE: StructureSet("whole", lambda: volume_patients(data.volumes, "whole")),
        STUDIES_CORE: StructureSet("core", lambda: volume_patients(data.test_studies, "core")),
        STUDIES_WHOLE: StructureSet("whole", lambda: volume_patients(data.test_studies, "whole")),
    }


def evaluate_structures(network: str, predictor: Predictor, data: StructureData) -> dict[str, EvaluationResult]:
    """Evaluate a model on every set of studies; the test patients of each structure after all `CORRUPTIONS` too.

    Those are the gliomas, as they are and with drawn metastases; without gliomas, the test studies.

    Args:
        network: the model's name, for the record.
        predictor: the model, at its operating points.
        data: the studies.

    Returns:
        Results by set; sets without a study are left out.

    Raises:
        DatasetError: a file has changed or gone.
    """
    corrupted = (WHOLE_SET, DRAWN_CORE) if data.test else (STUDIES_CORE, STUDIES_WHOLE)
    results = {
        name: evaluate_model(network, predictor, one.studies(), CORRUPTIONS if name in corrupted else {})
        for name, one in structure_sets(data).items()
    }
    return {name: result for name, result in results.items() if result.patients}


def format_structures(results: Mapping[str, EvaluationResult]) -> str:
    """A table of all sets: studies, Dice, lesions found by diameter and false positives per study."""
    lines = [f"{'set':50}{'studies':>8}{'mean':>8}{'median':>8}{'false':>8}  found"]
    for name, result in results.items():
        summary, lesions = result.summary, result.card().lesions
        found = ", ".join(
            f"{stratum} {one.sensitivity:.2f} of {one.lesions}" for stratum, one in lesions.by_diameter.items()
        )
        lines.append(
            f"{name:50}{summary.patients:>8}{summary.mean:>8.3f}{summary.median:>8.3f}"
            f"{lesions.false_positives.mean:>8.2f}  {found}"
        )
    return "\n".join(lines)


def _voxel_mm3(volume: Volume, predictor: Predictor) -> float:
    """The volume of a voxel, as serving takes it."""
    return Preprocessor(predictor.preprocessing).prepare(volume).geometry.voxel_mm3
