"""The interface of a network to training, evaluation and export, and the building blocks of networks."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from metseg.imaging import CHANNELS

__all__ = ["LEVELS", "ConvBlock", "Encoder", "SegmentationNetwork", "channels_last", "concatenate", "upsample_like"]

LEVELS = 5
"""Resolutions of a network, full resolution included."""


class SegmentationNetwork(nn.Module, ABC):
    """A network from slices to lesion logits.

    Input: float32, (batch, 3, row, column), any size of 16 pixels and more. Output: logits,
    (batch, outputs, row, column).

    Attributes:
        name: on the command line, in folders and versions.
        title: in reports and model cards.
        description: its distinction, in a phrase.
        widths: feature channels of each level, full resolution first.
        outputs: logits per pixel.

    Args:
        base_width: feature channels at full resolution; each level below doubles them.
        outputs: logits per pixel: 1 for the lesion, 2 for core and whole (`metseg_trainer.networks.structures`).
    """

    name: ClassVar[str]
    title: ClassVar[str]
    description: ClassVar[str]

    def __init__(self, base_width: int, outputs: int = 1) -> None:
        super().__init__()
        self.outputs = outputs
        self.widths = [base_width * 2**level for level in range(LEVELS)]

    @abstractmethod
    def supervised_outputs(self, slices: Tensor) -> list[Tensor]:
        """The logits of every output that the loss supervises; `forward` returns the last one."""

    def forward(self, slices: Tensor) -> Tensor:
        """The logits used after training."""
        return self.supervised_outputs(slices)[-1]

    @property
    def parameter_count(self) -> int:
        """The number of trainable weights."""
        return sum(parameter.numel() for parameter in self.parameters())

    def pruned_networks(self) -> Iterator[tuple[Self, int | None]]:
        """The network at each of its pruning levels, the whole one first; only itself without levels."""
        yield self, None


def channels_last(network: SegmentationNetwork) -> SegmentationNetwork:
    """The same network with its weights in the memory format that is fastest on CPUs and tensor cores."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's annotations lack this form
    return network


class ConvBlock(nn.Sequential):
    """Two 3x3 convolutions, each with batch normalisation and ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(*_convolution(inputs, outputs), *_convolution(outputs, outputs))


def _convolution(inputs: int, outputs: int) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    ]


class Encoder(nn.Module):
    """The contracting path of U-Net, each level halved by max pooling.

    Args:
        widths: feature channels of each level, full resolution first.
    """

    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        inputs = [len(CHANNELS), *widths[:-1]]
        self.blocks = nn.ModuleList(ConvBlock(i, o) for i, o in zip(inputs, widths, strict=True))

    def forward(self, slices: Tensor) -> list[Tensor]:
        """Features of each level, full resolution first."""
        features = [self.blocks[0](slices)]
        for block in self.blocks[1:]:
            features.append(block(functional.max_pool2d(features[-1], kernel_size=2)))
        return features


def upsample_like(features: Tensor, like: Tensor) -> Tensor:
    """Scale bilinearly to the rows and columns of `like`, which need not be twice as many.

    Args:
        features: (batch, channel, row, column).
        like: of the target size.

    Returns:
        (batch, channel, row, column).
    """
    return functional.interpolate(features, size=like.shape[-2:], mode="bilinear", align_corners=False)


def concatenate(*features: Tensor) -> Tensor:
    """Concatenate along the channels."""
    return torch.cat(features, dim=1)
