"""Peers: networks of other libraries behind our interface, so that one loop trains and evaluates them all.

Options that a library offers are set as close to our networks as possible; the rest keeps its defaults.
"""

from abc import abstractmethod
from functools import cache

from monai.networks.nets import AttentionUnet, BasicUNetPlusPlus
from torch import Tensor
from torch.library import Library
from torch.nn import functional

from metseg.imaging import CHANNELS
from metseg_trainer.networks import NETWORKS, SegmentationNetwork

__all__ = ["LEARNING", "PEERS", "TIMED", "register"]


class Peer(SegmentationNetwork):
    """A network that requires multiples of a size: slices are padded by edge replication and cropped back."""

    description = "another library's network, nearest to ours in what can be chosen"
    multiple = 16

    def supervised_outputs(self, slices: Tensor) -> list[Tensor]:
        """The logits of every output that the library supervises."""
        rows, columns = slices.shape[-2:]
        border = (0, -columns % self.multiple, 0, -rows % self.multiple)
        padded = functional.pad(slices, border, mode="replicate") if any(border) else slices
        return [logits[..., :rows, :columns] for logits in self.library_outputs(padded)]

    @abstractmethod
    def library_outputs(self, slices: Tensor) -> list[Tensor]:
        """The same for slices of a size that the network takes."""


class SmpUnet(Peer):
    """segmentation_models.pytorch's Unet on a randomly initialised ResNet-34; it has no base width."""

    name = "smp-unet-resnet34"
    title = "segmentation_models.pytorch Unet (resnet34)"

    multiple = 32
    decoder, encoder = "unet", "resnet34"

    def __init__(self, base_width: int, outputs: int = 1) -> None:
        super().__init__(base_width, outputs)
        _make_torchvision_importable()
        from segmentation_models_pytorch import create_model

        self.network = create_model(
            self.decoder, self.encoder, encoder_weights=None, in_channels=len(CHANNELS), classes=outputs
        )

    def library_outputs(self, slices: Tensor) -> list[Tensor]:
        """The one output."""
        return [self.network(slices)]


class SmpNestedUnet(SmpUnet):
    """segmentation_models.pytorch's U-Net++ on the same encoder."""

    name = "smp-nested-unet-resnet34"
    title = "smp U-Net++ (resnet34)"

    decoder = "unetplusplus"


class SmpSmallNestedUnet(SmpNestedUnet):
    """The same on the smallest of its usual encoders."""

    name = "smp-nested-unet-mobilenet"
    title = "smp U-Net++ (mobilenet_v2)"

    encoder = "mobilenet_v2"


class SmpTinyNestedUnet(SmpNestedUnet):
    """The same on the encoder with which its size is closest to ours."""

    name = "smp-nested-unet-mobilenetv3"
    title = "smp U-Net++ (mobilenetv3_small_075)"

    encoder = "timm-mobilenetv3_small_075"


class SmpSmallUnet(SmpUnet):
    """segmentation_models.pytorch's Unet on the smallest of its usual encoders."""

    name = "smp-unet-mobilenet"
    title = "smp Unet (mobilenet_v2)"

    encoder = "mobilenet_v2"


class MonaiAttentionUnet(Peer):
    """MONAI's AttentionUnet with the widths of ours."""

    name = "monai-attention-unet"
    title = "MONAI AttentionUnet"

    def __init__(self, base_width: int, outputs: int = 1) -> None:
        super().__init__(base_width, outputs)
        strides = [2] * (len(self.widths) - 1)
        self.network = AttentionUnet(2, len(CHANNELS), 1, channels=self.widths, strides=strides)

    def library_outputs(self, slices: Tensor) -> list[Tensor]:
        """The one output."""
        return [self.network(slices)]


class MonaiNestedUnet(Peer):
    """MONAI's BasicUNetPlusPlus with the widths of ours, and deep supervision as ours."""

    name = "monai-nested-unet"
    title = "MONAI BasicUNetPlusPlus"

    def __init__(self, base_width: int, outputs: int = 1) -> None:
        super().__init__(base_width, outputs)
        self.network = BasicUNetPlusPlus(
            2, len(CHANNELS), 1, features=(*self.widths, base_width), deep_supervision=True
        )

    def library_outputs(self, slices: Tensor) -> list[Tensor]:
        """The nodes (0, 1) to (0, 4)."""
        outputs: list[Tensor] = self.network(slices)
        return outputs


PEERS: dict[str, type[SegmentationNetwork]] = {
    network.name: network for network in (SmpUnet, MonaiAttentionUnet, MonaiNestedUnet)
}
"""Peers that are trained and evaluated like ours."""
TIMED: dict[str, type[SegmentationNetwork]] = {
    network.title: network for network in (MonaiNestedUnet, MonaiAttentionUnet, SmpNestedUnet, SmpSmallNestedUnet)
}
"""Peers whose inference is timed, by title."""
LEARNING = TIMED | {network.title: network for network in (SmpTinyNestedUnet, SmpSmallUnet)}
"""Peers whose training is timed, by title."""


def register() -> None:
    """Register these networks with the trainer, in this process and its children."""
    NETWORKS.update(PEERS)


@cache
def _make_torchvision_importable() -> Library | None:
    """Declare torchvision's operators where they were built for another torch, as PyPI's are for torch's CPU wheels.

    The models that smp takes from it are Python and use none of them, but without their names it is not imported. The
    declarations last as long as what is returned.
    """
    try:
        import torchvision  # noqa: F401
    except RuntimeError as error:
        if "operator torchvision::nms does not exist" not in str(error):
            raise
        declared = Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            declared.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return declared
    return None
