"""Plan: the patients, their split, the networks and the configuration of a run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from metseg.contracts import Preprocessing
from metseg_trainer.data import Audit, Patient, Split
from metseg_trainer.networks import NETWORKS
from metseg_trainer.training.checkpoints import CHECKPOINT
from metseg_trainer.training.config import TrainingConfig

__all__ = ["BY_PATIENT", "BY_SLICE", "CONFIG", "Plan", "preprocessing_of", "trained_networks"]

BY_PATIENT: Final = "patient"
BY_SLICE: Final = "slice"
CONFIG: Final = "config.json"


@dataclass(frozen=True)
class Plan:
    """The plan of a run, for all its steps.

    Attributes:
        run_folder: of the run.
        preset: a key of `PRESETS`.
        config: how the networks are trained.
        networks: keys of `NETWORKS`.
        patients: all of the data set.
        audit: of the data set.
        split: training, validation and test patients.
        split_by: `patient`; `slice`, which puts slices of one patient on several sides to measure the effect of
            that leak; or, as text, how the run is divided into folds, each with a separate split.
        fold: name of the fold; empty if the run has none.
        preprocessing: of the models.
        start: folder of an earlier run whose networks are trained further.
        devices: how many processes share each batch; None uses all GPUs.
    """

    run_folder: Path
    preset: str
    config: TrainingConfig
    networks: tuple[str, ...]
    patients: list[Patient]
    audit: Audit
    split: Split
    split_by: str = BY_PATIENT
    fold: str = ""
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    start: Path | None = None
    devices: int | None = None

    @property
    def folder(self) -> Path:
        """The folder of the fold, or of the run if it has none."""
        return self.run_folder / self.fold

    @property
    def train_patients(self) -> list[Patient]:
        """The training side."""
        return self._side(self.split.train)

    @property
    def validation_patients(self) -> list[Patient]:
        """The validation side."""
        return self._side(self.split.validation)

    @property
    def test_patients(self) -> list[Patient]:
        """The test side."""
        return self._side(self.split.test)

    def checkpoint(self, network: str) -> Path:
        """The path of a network's checkpoint."""
        return self.folder / network / CHECKPOINT

    def start_checkpoint(self, network: str) -> Path | None:
        """The checkpoint with a network's initial weights."""
        return None if self.start is None else self.start / network / CHECKPOINT

    def _side(self, ids: Sequence[str]) -> list[Patient]:
        wanted = set(ids)
        return [patient for patient in self.patients if patient.id in wanted]


def preprocessing_of(config: Mapping[str, Any]) -> Preprocessing:
    """The preprocessing in the content of a config.json."""
    return Preprocessing(pixel_scale=config["pixel_scale"]) if "pixel_scale" in config else Preprocessing()


def trained_networks(folder: Path) -> list[str]:
    """The networks that have a checkpoint in a run's folder."""
    return [name for name in NETWORKS if (folder / name / CHECKPOINT).exists()]
