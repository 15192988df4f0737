"""From a configuration to the checkpoint of a trained network.

- `plan`, `config`: the networks, data and configuration of a training.
- `trainer`: the loop; `train_state` one step of it, `validation` the end of an epoch, `distributed` several processes.
- `losses`: the objective.
- `sequence_model`: the classifier of sequences.
- `structures`: the training of the core, on partial truth.
- `checkpoints`, `learning_curves`, `environment`: the files and metadata of a training.
- `resource_errors`: system errors, translated into errors that say what to do.
"""

from metseg_trainer.training.checkpoints import CHECKPOINT, load_network, start_weights
from metseg_trainer.training.config import PRESETS, LossConfig, TrainingConfig
from metseg_trainer.training.environment import environment, git_revision, packages
from metseg_trainer.training.learning_curves import CURVES, read_learning_curves
from metseg_trainer.training.losses import deep_supervision_loss
from metseg_trainer.training.plan import BY_PATIENT, BY_SLICE, CONFIG, Plan, preprocessing_of, trained_networks
from metseg_trainer.training.resource_errors import resource_errors_translated
from metseg_trainer.training.sequence_model import (
    choose_limit,
    confusion,
    fit_sequence_classifier,
    predict_sequences,
)
from metseg_trainer.training.structures import StructureTrainingConfig, train_structures
from metseg_trainer.training.train_state import TrainState, amp_dtype
from metseg_trainer.training.trainer import is_finished, train_network

__all__ = [
    "BY_PATIENT",
    "BY_SLICE",
    "CHECKPOINT",
    "CONFIG",
    "CURVES",
    "PRESETS",
    "LossConfig",
    "Plan",
    "StructureTrainingConfig",
    "TrainState",
    "TrainingConfig",
    "amp_dtype",
    "choose_limit",
    "confusion",
    "deep_supervision_loss",
    "environment",
    "fit_sequence_classifier",
    "git_revision",
    "is_finished",
    "load_network",
    "packages",
    "predict_sequences",
    "preprocessing_of",
    "read_learning_curves",
    "resource_errors_translated",
    "start_weights",
    "train_network",
    "train_structures",
    "trained_networks",
]
