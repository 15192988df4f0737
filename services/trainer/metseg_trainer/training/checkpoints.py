"""Checkpoints, written atomically, and the networks in them."""

import hashlib
import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from metseg.atomic_io import atomic_write
from metseg.errors import TrainingFailed
from metseg.registry import CHECKPOINT
from metseg_trainer.networks import SegmentationNetwork, create_network

__all__ = [
    "CHECKPOINT",
    "load_checkpoint",
    "load_network",
    "load_start",
    "sample_seed",
    "save_checkpoint",
    "start_weights",
]


def save_checkpoint(content: Mapping[str, Any], path: Path) -> None:
    """Replace a checkpoint atomically: at any time the old or the new one is complete.

    Args:
        content: tensors and plain values.
        path: of the file.
    """
    with atomic_write(path) as file:
        file.write(_saved(content))


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


def load_start(path: Path, name: str, base_width: int) -> dict[str, Any]:
    """The averaged weights of a checkpoint, to start another training from.

    Args:
        path: of the checkpoint.
        name: of the network that is trained, a key of `NETWORKS`.
        base_width: of that network.

    Returns:
        Its state dict.

    Raises:
        TrainingFailed: the file is damaged, of another release, or of another network.
    """
    content = load_checkpoint(path)
    if (content["network"], content["config"]["base_width"]) != (name, base_width):
        raise TrainingFailed(f"{path} has the weights of another network; start from one of {name}, {base_width} wide.")
    weights: dict[str, Any] = content["ema"]
    return weights


def sample_seed(seed: int, start: Path | None) -> int:
    """The seed of a training's samples: each start has its own, or a training further would draw the same ones again.

    Args:
        seed: of the configuration.
        start: see `load_start`; None for random weights.

    Returns:
        The seed, the same when the training is resumed from the same start.
    """
    return seed if start is None else seed ^ int.from_bytes(hashlib.sha256(start.read_bytes()).digest()[:4])


def start_weights(path: Path) -> bytes:
    """A checkpoint with only what `load_start` reads, the weights in 16 bits: small enough for a registry.

    Args:
        path: of a checkpoint.

    Returns:
        The content of the smaller one.

    Raises:
        TrainingFailed: the file is damaged or of another release.
    """
    content = load_checkpoint(path)
    return _saved(
        {
            "network": content["network"],
            "outputs": content["outputs"],
            "config": {"base_width": content["config"]["base_width"]},
            "ema": {name: _in_16_bits(tensor) for name, tensor in content["ema"].items()},
        }
    )


def _in_16_bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.half() if tensor.is_floating_point() else tensor


def _saved(content: Mapping[str, Any]) -> bytes:
    buffer = io.BytesIO()  # torch wraps a file's errors in a RuntimeError
    torch.save(dict(content), buffer)
    return buffer.getvalue()
