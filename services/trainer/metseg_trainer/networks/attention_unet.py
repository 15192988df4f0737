r"""Attention U-Net: additive attention gates on the skips.

Oktay et al.: Attention U-Net: Learning Where to Look for the Pancreas, MIDL 2018.

A gate weighs the skip's features x by the coarser level's features g:
$\alpha = \sigma(\psi^T \mathrm{ReLU}(W_x x + W_g g + b_g) + b_\psi)$, and $\hat{x} = \alpha x$.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from metseg_trainer.networks.blocks import ConvBlock, Encoder, SegmentationNetwork, concatenate, upsample_like


class AttentionGate(nn.Module):
    """Weighs a skip's features by a gating signal of half its resolution.

    As in the paper, the sum is formed on the coarse grid, where `W_x` strides by 2, and the weights are brought
    back to the skip's grid bilinearly.
    """

    def __init__(self, skip: int, gating: int) -> None:
        super().__init__()
        self.of_skip = nn.Conv2d(skip, skip, kernel_size=2, stride=2, bias=False)
        self.of_gating = nn.Conv2d(gating, skip, kernel_size=1)
        self.weigh = nn.Conv2d(skip, 1, kernel_size=1)

    def forward(self, skip: Tensor, gating: Tensor) -> Tensor:
        """Weigh each pixel of the skip.

        Args:
            skip: (batch, channel, row, column).
            gating: of half the rows and columns.

        Returns:
            `skip`, each pixel scaled by its weight in (0, 1).
        """
        matched = functional.relu(self.of_skip(skip) + self.of_gating(gating))
        weights = torch.sigmoid(self.weigh(matched))
        return skip * upsample_like(weights, like=skip)


class AttentionUNet(SegmentationNetwork):
    """U-Net with an attention gate on each skip."""

    name = "attention-unet"
    title = "Attention U-Net"
    description = "U-Net with an additive attention gate on each skip connection"

    def __init__(self, base_width: int, outputs: int = 1) -> None:
        super().__init__(base_width, outputs)
        pairs = list(zip(self.widths[:-1], self.widths[1:], strict=True))[::-1]
        self.encoder = Encoder(self.widths)
        self.gates = nn.ModuleList(AttentionGate(skip, gating) for skip, gating in pairs)
        self.decoder = nn.ModuleList(ConvBlock(skip + below, skip) for skip, below in pairs)
        self.head = nn.Conv2d(base_width, outputs, kernel_size=1)

    def supervised_outputs(self, slices: Tensor) -> list[Tensor]:
        """The one output."""
        *skips, features = self.encoder(slices)
        for skip, gate, block in zip(reversed(skips), self.gates, self.decoder, strict=True):
            features = block(concatenate(gate(skip, features), upsample_like(features, like=skip)))
        return [self.head(features)]
