"""The configuration of training samples: the sources of slices and their augmentation."""

from dataclasses import dataclass, field
from typing import Literal

__all__ = ["AugmentationConfig", "SamplingConfig", "Source"]

Source = Literal["whole", "lone", "implanted", "stripped"]
"""A way to prepare a patient; see `metseg_trainer.data.prepared`."""

Range = tuple[float, float]


def _source_shares() -> dict[Source, float]:
    return {"whole": 0.4, "lone": 0.2, "implanted": 0.25, "stripped": 0.15}


@dataclass(frozen=True)
class SamplingConfig:
    """Which slices are drawn, and with which lesions and sequences.

    Attributes:
        source_shares: how often a sample comes from each source.
        implantations: how many times metastases are drawn into each patient, differently each time.
        lesion_share: how often a slice with a lesion is drawn.
        transplant_p: how often a slice without a lesion gets another patient's.
        drop_pre_and_post_p: how often FLAIR replaces both other sequences.
        drop_pre_p: how often FLAIR replaces the pre-contrast sequence alone.
        drop_post_p: how often FLAIR replaces the post-contrast sequence alone.
    """

    source_shares: dict[Source, float] = field(default_factory=_source_shares)
    implantations: int = 3
    lesion_share: float = 0.5
    transplant_p: float = 0.5
    drop_pre_and_post_p: float = 0.15
    drop_pre_p: float = 0.1
    drop_post_p: float = 0.05


@dataclass(frozen=True)
class AugmentationConfig:
    """Ranges and probabilities of the random changes, in the terms and the order of albumentations.

    Attributes:
        horizontal_flip_p: left and right swapped.
        vertical_flip_p: front and back swapped.
        affine_p: scaled, rotated and shifted.
        scale: factors.
        rotate_degrees: in plane.
        translate_percent: shares of the slice's sides.
        elastic_p: deformed elastically.
        elastic_alpha: strength of the deformation.
        elastic_sigma: smoothness of the deformation in pixels.
        brightness_contrast_p: brightness and contrast changed.
        brightness_limit: largest change, as a share of the range.
        contrast_limit: largest change, as a share.
        gamma_p: a gamma curve applied.
        gamma_limit: exponents in percent.
        degrade_p: blurred, scaled down and up, or compressed as JPEG.
        blur_sigma: in pixels.
        downscale: factors.
        jpeg_quality: in percent.
        noise_p: Gaussian noise added.
        noise_std: as shares of the range.
        transplant_scale: factors for a lesion that is transplanted.
        transplant_rotate_degrees: for a lesion that is transplanted.
        transplant_shift_px: largest shift of a lesion that is transplanted, in model pixels.
    """

    horizontal_flip_p: float = 0.5
    vertical_flip_p: float = 0.1
    affine_p: float = 0.8
    scale: Range = (0.75, 1.25)
    rotate_degrees: Range = (-25.0, 25.0)
    translate_percent: Range = (-0.06, 0.06)
    elastic_p: float = 0.2
    elastic_alpha: float = 20.0
    elastic_sigma: float = 6.0
    brightness_contrast_p: float = 0.5
    brightness_limit: float = 0.2
    contrast_limit: float = 0.3
    gamma_p: float = 0.5
    gamma_limit: Range = (60.0, 160.0)
    degrade_p: float = 0.2
    blur_sigma: Range = (0.3, 0.9)
    downscale: Range = (0.6, 0.9)
    jpeg_quality: tuple[int, int] = (60, 95)
    noise_p: float = 0.3
    noise_std: Range = (0.01, 0.05)
    transplant_scale: Range = (0.7, 1.3)
    transplant_rotate_degrees: Range = (-20.0, 20.0)
    transplant_shift_px: float = 8.0
