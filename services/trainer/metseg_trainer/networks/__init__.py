"""The networks that the trainer compares, one file each."""

from metseg_trainer.networks.attention_unet import AttentionUNet
from metseg_trainer.networks.blocks import SegmentationNetwork, channels_last
from metseg_trainer.networks.nested_unet import NestedUNet

__all__ = ["NETWORKS", "AttentionUNet", "NestedUNet", "SegmentationNetwork", "channels_last", "create"]

NETWORKS: dict[str, type[SegmentationNetwork]] = {
    "nested-unet": NestedUNet,
    "attention-unet": AttentionUNet,
}


def create(name: str, base_width: int) -> SegmentationNetwork:
    """A fresh network.

    Args:
        name: a key of `NETWORKS`.
        base_width: feature channels at full resolution; each level below doubles them.

    Raises:
        KeyError: there is no network of that name; the message lists the choices.
    """
    if name not in NETWORKS:
        raise KeyError(f"no network {name!r}; choose one of {', '.join(sorted(NETWORKS))}")
    return NETWORKS[name](base_width)
