"""Report: what a person reads of a segmentation, and what the store keeps of it."""

from collections.abc import Callable, Mapping
from itertools import takewhile

import numpy as np
import numpy.typing as npt

from metseg.contracts import ModelCard, Result
from metseg.formats import ProbabilityFile, write_mask
from metseg.imaging import CHANNELS, FLAIR, ProbabilityMap, Volume, encode_png, lesions, window_slices
from metseg.inference import Segmentation
from metseg.results.slice_archive import PACK, packed

__all__ = ["build_artefacts", "build_result", "render_slices"]

NO_SPACING = "The upload tells no pixel spacing, so sizes are given in pixels, not in millimetres."
TARGETS_WITHOUT_SPACING = (
    "Without spacing nobody can tell which lesions reach RANO-BM's 10 mm; the longest ones are taken for its targets."
)


def build_result(
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
    sum_px, sum_mm = lesions.sum_target_diameters(segmentation.lesions)
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
        slices=lesions.measure_slices(
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


def build_artefacts(
    volume: Volume, segmentation: Segmentation, *, probability: bytes | None = None, pictures: bytes | None = None
) -> dict[str, bytes]:
    """What is kept of a job beside its result, by name.

    `mask.nii.gz` and `probability.nii.gz` are in the upload's size and place; `slices.zip` shows each slice as a PNG:
    the sequences as colours, in grey where there is but one. `uncertainty.nii.gz` is there where it was asked for.

    Args:
        volume: what was uploaded.
        segmentation: what was found in it.
        probability: its file, where that was packed while the slices were computed.
        pictures: as of `render_slices`, where they have been drawn.
    """
    spacing_mm, affine = volume.spacing_mm, volume.affine
    kept = {
        "mask.nii.gz": write_mask(segmentation.mask, volume.names, "nifti", spacing_mm=spacing_mm, affine=affine),
        "probability.nii.gz": probability or _packed(segmentation.probability, volume),
        PACK: pictures or render_slices(volume),
    }
    if segmentation.uncertainty is not None:
        kept["uncertainty.nii.gz"] = _packed(segmentation.uncertainty, volume)
    return kept


def _packed(probability: ProbabilityMap, volume: Volume) -> bytes:
    file = ProbabilityFile(volume.shape, volume.spacing_mm, volume.affine)
    for index, one in enumerate(probability):
        file.add(index, one)
    return file.finish()


def render_slices(volume: Volume, stopped: Callable[[], bool] = lambda: False) -> bytes:
    """The pictures of a study's slices as one file; see `metseg.results.slice_archive`.

    Args:
        volume: what was uploaded.
        stopped: whether nobody wants them any more; slices that have not been begun are left out then.
    """
    return packed(
        encode_png(_as_uploaded(pixels)) for pixels in takewhile(lambda _: not stopped(), window_slices(volume))
    )


def _as_uploaded(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """A slice (row, column, channel) without the copies of a grey one."""
    alike = all(np.array_equal(pixels[..., FLAIR], pixels[..., channel]) for channel in range(len(CHANNELS)))
    return pixels[..., FLAIR] if alike else pixels
