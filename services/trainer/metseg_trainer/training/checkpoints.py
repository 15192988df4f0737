"""Checkpoints, written atomically, and the networks in them."""

import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch

from metseg.atomic_io import atomic_write
from metseg.errors import TrainingFailed
from metseg_trainer.networks import SegmentationNetwork, create_network

__all__ = ["CHECKPOINT", "load_checkpoint", "load_network", "save_checkpoint"]

CHECKPOINT: Final = "last.ckpt"


def save_checkpoint(content: Mapping[str, Any], path: Path) -> None:
    """Replace a checkpoint atomically: at any time the old or the new one is complete.

    Args:
        content: tensors and plain values.
        path: of the file.
    """
    buffer = io.BytesIO()  # torch wraps a file's errors in a RuntimeError
    torch.save(dict(content), buffer)
    with atomic_write(path) as file:
        file.write(buffer.getbuffer())


def load_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a checkpoint, on the CPU.

    Raises:
        TrainingFailed: the file is damaged or of another release.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise TrainingFailed(f"The checkpoint {path} cannot be read; remove it to train its network again.") from error
    if not isinstance(content, dict) or "outputs" not in content:
        raise TrainingFailed(f"The checkpoint {path} is of another release; start a run with another name.")
    return content


def load_network(path: Path) -> SegmentationNetwork:
    """The network of a checkpoint with its averaged weights, in evaluation mode.

    Raises:
        TrainingFailed: the file is damaged or of another release.
    """
    content = load_checkpoint(path)
    network = create_network(content["network"], content["config"]["base_width"], content["outputs"])
    network.load_state_dict(content["ema"])
    return network.eval()
