"""The networks that the trainer compares, one file each; each class has its name, title and pruning levels.

`registry` lists them, `blocks` has their interface and building blocks.
"""

from metseg_trainer.networks.attention_unet import AttentionUNet
from metseg_trainer.networks.blocks import SegmentationNetwork, channels_last
from metseg_trainer.networks.nested_unet import NestedUNet
from metseg_trainer.networks.registry import NETWORKS, create_network, network_title

__all__ = [
    "NETWORKS",
    "AttentionUNet",
    "NestedUNet",
    "SegmentationNetwork",
    "channels_last",
    "create_network",
    "network_title",
]
