r"""Nested U-Net (U-Net++): nested dense skips and deep supervision.

Zhou, Siddiquee, Tajbakhsh, Liang: UNet++: A Nested U-Net Architecture for Medical Image Segmentation, DLMIA 2018;
UNet++: Redesigning Skip Connections to Exploit Multiscale Features in Image Segmentation, IEEE TMI 2020.

Node $x^{i,j}$ at level i and step j receives all nodes before it at its level and the upsampled one from below:
$x^{i,0} = H(D(x^{i-1,0}))$ and $x^{i,j} = H([x^{i,0}, ..., x^{i,j-1}, U(x^{i+1,j-1})])$ for j > 0.
"""

from collections.abc import Iterator
from typing import Self

from torch import Tensor, nn

from metseg_trainer.networks.blocks import LEVELS, ConvBlock, Encoder, SegmentationNetwork, concatenate, upsample_like


class NestedUNet(SegmentationNetwork):
    """U-Net++ with an output at each full-resolution node, so that it can be pruned to the first ones.

    Args:
        base_width: feature channels at full resolution.
        depth: the pruning level: 4 is the whole network, 1 keeps the two upper levels only.
        outputs: logits per pixel.

    Raises:
        ValueError: `depth` is not 1 to 4.
    """

    name = "nested-unet"
    title = "Nested U-Net (U-Net++)"
    description = "U-Net with nested dense skip connections and deep supervision; it can be pruned to levels 1 to 4"

    def __init__(self, base_width: int, depth: int = LEVELS - 1, outputs: int = 1) -> None:
        super().__init__(base_width, outputs)
        if not 1 <= depth <= LEVELS - 1:
            raise ValueError(f"depth is 1 to {LEVELS - 1}, not {depth}")
        self.depth = depth
        widths = self.widths[: depth + 1]
        self.encoder = Encoder(widths)
        self.nodes = nn.ModuleDict(
            {
                _name(level, step): ConvBlock(step * widths[level] + widths[level + 1], widths[level])
                for step in range(1, depth + 1)
                for level in range(depth + 1 - step)
            }
        )
        self.heads = nn.ModuleList(nn.Conv2d(base_width, outputs, kernel_size=1) for _ in range(depth))

    def supervised_outputs(self, slices: Tensor) -> list[Tensor]:
        """Logits of the nodes (0, 1) to (0, depth)."""
        rows = [[features] for features in self.encoder(slices)]
        for step in range(1, self.depth + 1):
            for level in range(self.depth + 1 - step):
                skips, below = rows[level], rows[level + 1][step - 1]
                node = self.nodes[_name(level, step)]
                rows[level].append(node(concatenate(*skips, upsample_like(below, like=skips[0]))))
        return [head(features) for head, features in zip(self.heads, rows[0][1:], strict=True)]

    def pruned_networks(self) -> Iterator[tuple[Self, int | None]]:
        """The network at each depth, the whole one first."""
        for depth in range(self.depth, 0, -1):
            yield self.pruned(depth), depth

    def pruned(self, depth: int) -> Self:
        """A smaller network with the trained weights of the first `depth` steps, as the papers prune it.

        Raises:
            ValueError: `depth` is not 1 to this network's depth.
        """
        if depth > self.depth:
            raise ValueError(f"cannot prune depth {self.depth} to {depth}")
        smaller = type(self)(self.widths[0], depth, self.outputs)
        weights = self.state_dict()
        smaller.load_state_dict({name: weights[name] for name in smaller.state_dict()})
        return smaller.train(self.training)


def _name(level: int, step: int) -> str:
    return f"{level}_{step}"
