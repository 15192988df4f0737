"""What both networks are built of, and the face that they show to training, evaluation and export."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional

from metseg.imaging import CHANNELS

LEVELS = 5


class SegmentationNetwork(nn.Module, ABC):
    """A network from slices to lesion logits.

    Input: float32, (batch, 3, row, column), any size of 16 pixels and more. Output: logits, (batch, 1, row, column).
    """

    def __init__(self, base_width: int) -> None:
        super().__init__()
        self.widths = [base_width * 2**level for level in range(LEVELS)]

    @abstractmethod
    def branches(self, slices: Tensor) -> list[Tensor]:
        """The logits of every supervised output, the one that `forward` gives last."""

    def forward(self, slices: Tensor) -> Tensor:
        """The logits that serve."""
        return self.branches(slices)[-1]


def channels_last(network: SegmentationNetwork) -> SegmentationNetwork:
    """The same network with its weights laid out as convolutions are quickest on a CPU and with tensor cores."""
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
    """The contracting path that both papers share with U-Net: five levels, halved by max pooling."""

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


def upsample(features: Tensor, like: Tensor) -> Tensor:
    """Bilinear, to the rows and columns of `like`, which need not be twice as many."""
    return functional.interpolate(features, size=like.shape[-2:], mode="bilinear", align_corners=False)


def join(*features: Tensor) -> Tensor:
    """Concatenate along the channels."""
    return torch.cat(features, dim=1)
