"""Report: what a person reads of a segmentation, and what the store keeps of it."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from metseg import lesions
from metseg.contracts import ModelCard, Result
from metseg.formats import write_mask, write_probability
from metseg.parallel import side_by_side
from metseg.pictures import FLAIR, display, encode_png
from metseg.segment import Segmentation
from metseg.volume import CHANNELS, Volume

__all__ = ["artefacts", "build"]

NO_SPACING = "The upload tells no pixel spacing, so sizes are given in pixels, not in millimetres."
TARGETS_WITHOUT_SPACING = (
    "Without spacing nobody can tell which lesions reach RANO-BM's 10 mm; the longest ones are taken for its targets."
)


def build(
    job_id: str,
    volume: Volume,
    segmentation: Segmentation,
    card: ModelCard,
    durations_s: Mapping[str, float],
) -> Result:
    """The answer to a job.

    Args:
        job_id: of the job.
        volume: what was uploaded.
        segmentation: what was found in it.
        card: of the model that found it.
        durations_s: by phase.
    """
    sum_px, sum_mm = lesions.target_diameters(segmentation.lesions)
    return Result(
        job_id=job_id,
        model_version=card.version,
        network=card.network,
        precision=card.variant.precision,
        threshold=segmentation.threshold,
        shape=volume.shape,
        spacing_mm=volume.spacing_mm,
        lesions=segmentation.lesions,
        target_diameter_sum_px=sum_px,
        target_diameter_sum_mm=sum_mm,
        familiarity=segmentation.familiarity,
        uncertainty_words=segmentation.uncertainty_words,
        slices=lesions.slices(
            segmentation.mask, segmentation.lesions, volume.names, volume.spacing_mm, segmentation.probability
        ),
        warnings=list(dict.fromkeys([*volume.warnings, *segmentation.warnings, *_on_spacing(volume, segmentation)])),
        durations_s=dict(durations_s),
        sequences=dict(volume.sequences),
        alignment=list(volume.alignment),
        grid=volume.grid,
    )


def _on_spacing(volume: Volume, segmentation: Segmentation) -> list[str]:
    """What a reader has to know of sizes that are in pixels alone."""
    if volume.spacing_mm is not None:
        return []
    return [NO_SPACING, *([TARGETS_WITHOUT_SPACING] if any(one.target for one in segmentation.lesions) else [])]


def artefacts(volume: Volume, segmentation: Segmentation, lanes: int = 1) -> dict[str, bytes]:
    """What is kept of a job beside its result, by name.

    `mask.nii.gz` and `probability.nii.gz` are in the upload's size and place; `slices/0000.png` and so on show
    the sequences as colours, in grey where there is but one. `uncertainty.nii.gz` is there where it was asked for.

    Args:
        volume: what was uploaded.
        segmentation: what was found in it.
        lanes: slices to encode side by side.
    """
    spacing_mm, affine = volume.spacing_mm, volume.affine
    kept = {
        "mask.nii.gz": write_mask(segmentation.mask, volume.names, "nifti", spacing_mm=spacing_mm, affine=affine),
        "probability.nii.gz": write_probability(
            segmentation.probability, "nifti", spacing_mm=spacing_mm, affine=affine
        ),
    }
    if segmentation.uncertainty is not None:
        doubt = write_probability(segmentation.uncertainty, "nifti", spacing_mm=spacing_mm, affine=affine)
        kept["uncertainty.nii.gz"] = doubt
    pictures = side_by_side(lambda pixels: encode_png(_as_uploaded(pixels)), display(volume), lanes)
    return kept | {f"slices/{index:04d}.png": picture for index, picture in enumerate(pictures)}


def _as_uploaded(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """A slice (row, column, channel) without the copies of a grey one."""
    alike = all(np.array_equal(pixels[..., FLAIR], pixels[..., channel]) for channel in range(len(CHANNELS)))
    return pixels[..., FLAIR] if alike else pixels
