"""The data of a training of core and whole: folders in, patients by side out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from metseg.contracts import DataCard
from metseg.errors import DatasetError
from metseg.registry import read_card
from metseg_trainer.data import (
    SPLIT,
    Patient,
    Split,
    check_unseen,
    scan_folder,
    scan_reviewed,
    split_patients,
    split_reviewed,
    split_sha256,
)
from metseg_trainer.data.structures import BriscSlice, read_brisc_index
from metseg_trainer.evaluation import StructureData
from metseg_trainer.export import KNOWN_CORES, describe_structure_data
from metseg_trainer.training import CHECKPOINT

__all__ = ["StructurePatients", "StructureSources", "check_start", "read_structure_patients"]

BRISC_SIDES = ("train", "validation")
NO_SPLIT = Split((), (), ())


@dataclass(frozen=True)
class StructureSources:
    """Folders of data; any may be missing, but not all that have patients to validate and test on.

    Attributes:
        lgg: glioma patients, in a layout that `run` reads.
        brisc: BRISC, which has single slices for training, and others that only show how good a network is.
        studies: studies of volumes whose core is known, to train, validate and test on.
        reviewed: the same, as `fetch_reviewed` wrote them.
        brats: studies of volumes, as `run` reads them, to evaluate both structures on.
    """

    lgg: Path | None = None
    brisc: Path | None = None
    studies: Path | None = None
    reviewed: Path | None = None
    brats: Path | None = None


@dataclass(frozen=True, eq=False)
class StructurePatients:
    """What the folders hold.

    Attributes:
        gliomas: whose whole is known.
        glioma_split: of them.
        studies: whose core is known.
        study_split: of them.
        brisc: the folder of BRISC; None without it.
        slices: of BRISC by side.
        volumes: to evaluate both structures on.
    """

    gliomas: Sequence[Patient]
    glioma_split: Split
    studies: Sequence[Patient]
    study_split: Split
    brisc: Path | None
    slices: Mapping[str, Sequence[BriscSlice]]
    volumes: Sequence[Patient]

    @property
    def split(self) -> Split:
        """Of gliomas and studies."""
        return Split.joined([self.glioma_split, self.study_split])

    @property
    def trained_gliomas(self) -> list[Patient]:
        """The gliomas of the training side."""
        return _on(self.gliomas, self.glioma_split.train)

    @property
    def trained_studies(self) -> list[Patient]:
        """The studies of the training side."""
        return _on(self.studies, self.study_split.train)

    def evaluated(self) -> StructureData:
        """What validates and tests a network."""
        return StructureData(
            _on(self.gliomas, self.glioma_split.validation),
            _on(self.gliomas, self.glioma_split.test),
            self.brisc,
            self.volumes,
            _on(self.studies, self.study_split.validation),
            _on(self.studies, self.study_split.test),
        )

    def described(self, inherited: Sequence[DataCard]) -> DataCard:
        """The description for a card; see `describe_structure_data`."""
        return describe_structure_data(self.gliomas, self.studies, self.split, self.slices, inherited)


def read_structure_patients(sources: StructureSources, seed: int) -> StructurePatients:
    """Read the folders and split their patients; what was found in each is printed.

    Args:
        sources: the folders.
        seed: of the splits.

    Returns:
        The patients.

    Raises:
        DatasetError: no patients to validate and test on are named, or a folder cannot be used.
    """
    if not (sources.lgg or sources.studies or sources.reviewed):
        raise DatasetError("Name patients to train, validate and test on: --studies, --lgg or both.")
    slices = {side: read_brisc_index(sources.brisc, side) for side in BRISC_SIDES} if sources.brisc else {}
    volumes = scan_folder(sources.brats)[0] if sources.brats else []
    gliomas, glioma_split = _read_gliomas(sources.lgg, seed)
    studies, study_split = _read_studies(sources, seed)
    return StructurePatients(gliomas, glioma_split, studies, study_split, sources.brisc, slices, volumes)


def _read_gliomas(folder: Path | None, seed: int) -> tuple[list[Patient], Split]:
    if folder is None:
        return [], NO_SPLIT
    patients, audit = scan_folder(folder)
    print(audit.text())
    return patients, split_patients(patients, seed)


def _read_studies(sources: StructureSources, seed: int) -> tuple[list[Patient], Split]:
    patients, splits = list[Patient](), [NO_SPLIT]
    kinds = (sources.studies, scan_folder, split_patients), (sources.reviewed, scan_reviewed, split_reviewed)
    for folder, scan, split in kinds:
        if folder is not None:
            found, audit = scan(folder, "core")
            print(audit.text())
            patients += found
            splits.append(split(found, seed))
    return patients, Split.joined(splits)


def check_start(start: Path, patients: StructurePatients) -> None:
    """Refuse a start that was, or may have been, trained on patients of the test or validation side.

    A version that was published, such as the starter model, names no patients; its card has the hash of its split, and
    says whether it learned from studies of a site.

    Args:
        start: folder of a version.
        patients: of the new training.

    Raises:
        NotFound: it has no card.
        DatasetError: it has no weights, or knows patients of the test or validation side.
    """
    if not (start / CHECKPOINT).is_file():
        raise DatasetError(f"{start} holds no {CHECKPOINT}, the weights to start from.")
    if (start / SPLIT).exists():
        check_unseen(start, patients.split)
        return
    data = read_card(start).data
    if patients.gliomas and data.split_sha256 != split_sha256(patients.glioma_split):
        raise DatasetError(f"The version in {start} was trained with other glioma patients; name those as --lgg.")
    if not patients.gliomas and KNOWN_CORES in data.name:
        raise DatasetError(
            f"The version in {start} was trained on studies of patients whom it does not name, so this training could "
            f"test it on them; start from the folder of its training, which has {SPLIT}."
        )


def _on(patients: Sequence[Patient], ids: Sequence[str]) -> list[Patient]:
    """The patients with these ids."""
    return [patient for patient in patients if patient.id in ids]
