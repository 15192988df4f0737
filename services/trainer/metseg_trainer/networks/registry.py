"""The networks by name: another one is a file and a line here."""

from metseg_trainer.networks.attention_unet import AttentionUNet
from metseg_trainer.networks.blocks import SegmentationNetwork
from metseg_trainer.networks.nested_unet import NestedUNet

__all__ = ["NETWORKS", "create_network", "network_title"]

NETWORKS: dict[str, type[SegmentationNetwork]] = {network.name: network for network in (NestedUNet, AttentionUNet)}


def create_network(name: str, base_width: int, outputs: int = 1) -> SegmentationNetwork:
    """A network with random weights.

    Args:
        name: a key of `NETWORKS`.
        base_width: feature channels at full resolution; each level below doubles them.
        outputs: logits per pixel.

    Returns:
        The network, in training mode.

    Raises:
        KeyError: there is no network of that name; the message lists the choices.
    """
    return _network_class(name)(base_width, outputs=outputs)


def network_title(name: str) -> str:
    """The title of a network in reports and model cards.

    Raises:
        KeyError: there is no network of that name; the message lists the choices.
    """
    return _network_class(name).title


def _network_class(name: str) -> type[SegmentationNetwork]:
    if name not in NETWORKS:
        raise KeyError(f"no network {name!r}; choose one of {', '.join(sorted(NETWORKS))}")
    return NETWORKS[name]
