"""The networks that the trainer compares, one file each; each class has its name, title and pruning levels.

`registry` lists them, `blocks` has their interface and building blocks. `sequence_classifier` is for another
task: which sequence a slice is.
"""

from metseg_trainer.networks.attention_unet import AttentionUNet
from metseg_trainer.networks.blocks import SegmentationNetwork, channels_last
from metseg_trainer.networks.nested_unet import NestedUNet
from metseg_trainer.networks.registry import NETWORKS, create_network, network_title
from metseg_trainer.networks.sequence_classifier import SequenceClassifier

__all__ = [
    "NETWORKS",
    "AttentionUNet",
    "NestedUNet",
    "SegmentationNetwork",
    "SequenceClassifier",
    "channels_last",
    "create_network",
    "network_title",
]
