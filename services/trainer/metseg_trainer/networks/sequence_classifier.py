"""The network that distinguishes sequences."""

import torch
from torch import Tensor, nn

from metseg.inference import SEQUENCE_CLASSES

__all__ = ["SequenceClassifier"]

WIDTHS_AND_STRIDES = ((8, 1), (16, 2), (32, 2), (32, 1), (64, 2), (64, 1), (96, 2), (96, 1))
DROPOUT = 0.2


class SequenceClassifier(nn.Module):
    """Convolutions, then the mean and the greatest of each feature: small bright vessels indicate as much as the whole.

    Input: float32, (batch, 1, row, column). Output: scores, (batch, class).
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 1
        for width, stride in WIDTHS_AND_STRIDES:
            layers += [nn.Conv2d(inputs, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
            inputs = width
        self.features = nn.Sequential(*layers)
        self.scores = nn.Sequential(nn.Dropout(DROPOUT), nn.Linear(2 * inputs, len(SEQUENCE_CLASSES)))

    def forward(self, heads: Tensor) -> Tensor:
        """The scores of each class."""
        features = self.features(heads)
        scores: Tensor = self.scores(torch.cat([features.mean((2, 3)), features.amax((2, 3))], dim=1))
        return scores
