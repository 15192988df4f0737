"""Builds the result that people read, and the artefacts that the store keeps."""

from collections.abc import Callable, Mapping
from io import BytesIO
from itertools import takewhile

import numpy as np

from metseg.contracts import ModelCard, Result, Structure, StructureMeasurements
from metseg.formats import ProbabilityWriter
from metseg.imaging import (
    CHANNELS,
    FLAIR,
    ProbabilityMap,
    Spacing,
    UInt8Array,
    Volume,
    encode_png,
    find_components,
    lesions,
    window_slices,
)
from metseg.inference import Segmentation, StructureMap
from metseg.results.exports import PROBABILITY, UNCERTAINTY, WHOLE_PROBABILITY
from metseg.results.mask_artefacts import write_mask_artefacts
from metseg.results.slice_archive import SLICE_ARCHIVE, write_slice_archive

__all__ = ["build_artefacts", "build_result", "render_slices"]

NO_SPACING = "The upload has no pixel spacing, so sizes are given in pixels, not in millimetres."
TARGETS_WITHOUT_SPACING = (
    "Without spacing it is unknown which lesions reach RANO-BM's 10 mm; the longest ones are used as targets."
)


def build_result(
    job_id: str,
    volume: Volume,
    segmentation: Segmentation,
    card: ModelCard,
    durations_s: Mapping[str, float],
) -> Result:
    """Build the result of a job.

    Args:
        job_id: of the job.
        volume: what was uploaded.
        segmentation: what was found in it.
        card: of the model that found it.
        durations_s: by phase.

    Returns:
        The result, as the store keeps it and the gateway returns it.
    """
    sum_px, sum_mm = lesions.sum_target_diameters(segmentation.lesions)
    return Result(
        job_id=job_id,
        model_version=card.version,
        network=card.network,
        precision=card.variant.precision,
        structure=segmentation.structure,
        structures={
            structure: _measure_structure(found, volume.spacing_mm)
            for structure, found in segmentation.structures.items()
        },
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
        warnings=list(
            dict.fromkeys([*volume.warnings, *segmentation.warnings, *_spacing_warnings(volume, segmentation)])
        ),
        durations_s=dict(durations_s),
        sequences=dict(volume.sequences),
        identified=dict(volume.identified),
        alignment=list(volume.alignment),
        grid=volume.grid,
    )


def _measure_structure(found: StructureMap, spacing_mm: Spacing | None) -> StructureMeasurements:
    voxels = int(np.count_nonzero(found.mask))
    return StructureMeasurements(
        threshold=found.point.threshold,
        seed_threshold=found.point.seed_threshold,
        min_voxels=found.min_voxels,
        voxels=voxels,
        volume_mm3=None if spacing_mm is None else float(voxels * np.prod(spacing_mm)),
    )


def _spacing_warnings(volume: Volume, segmentation: Segmentation) -> list[str]:
    """Warnings for sizes that are in pixels only."""
    if volume.spacing_mm is not None:
        return []
    return [NO_SPACING, *([TARGETS_WITHOUT_SPACING] if any(one.target for one in segmentation.lesions) else [])]


def build_artefacts(
    volume: Volume,
    segmentation: Segmentation,
    *,
    probabilities: Mapping[Structure, bytes] | None = None,
    slice_archive: bytes | None = None,
) -> dict[str, bytes]:
    """Build the files that the store keeps of a job.

    `mask.nii.gz` and `probability.nii.gz` are those of the lesions, in the size and position of the upload. Where these
    are of the core, `whole.nii.gz` and `whole_probability.nii.gz` are those of the whole. `lesions.nii.gz` has the
    number of each lesion. `slices.zip` has a PNG of each slice, with the sequences as colours, or in grey where there
    is only one. `uncertainty.nii.gz` exists where asked for.

    Args:
        volume: what was uploaded.
        segmentation: what was found in it.
        probabilities: files of the probability maps, if they were written while the slices were computed.
        slice_archive: from `render_slices`, if it has been called already.

    Returns:
        Content by name.
    """
    kept = {SLICE_ARCHIVE: slice_archive or render_slices(volume)}
    for structure, found in segmentation.structures.items():
        probability = (probabilities or {}).get(structure) or _write_probability(found.probability, volume)
        kept[PROBABILITY if structure == segmentation.structure else WHOLE_PROBABILITY] = probability
    masks = {structure: found.mask for structure, found in segmentation.structures.items()}
    kept |= write_mask_artefacts(masks, find_components(segmentation.mask), volume.spacing_mm, volume.affine)
    if segmentation.uncertainty is not None:
        kept[UNCERTAINTY] = _write_probability(segmentation.uncertainty, volume)
    return kept


def _write_probability(probability: ProbabilityMap, volume: Volume) -> bytes:
    file = ProbabilityWriter(volume.shape, volume.spacing_mm, volume.affine)
    for index, one in enumerate(probability):
        file.add(index, one)
    return file.finish()


def render_slices(volume: Volume, stopped: Callable[[], bool] = lambda: False) -> bytes:
    """Render the slices of a study into one file; see `metseg.results.slice_archive`.

    Args:
        volume: what was uploaded.
        stopped: returns whether the rest is no longer wanted; it is then left out.

    Returns:
        A ZIP of PNGs.
    """
    slices = takewhile(lambda _: not stopped(), window_slices(volume))
    archive = BytesIO()
    write_slice_archive((encode_png(_without_copies(pixels)) for pixels in slices), archive)
    return archive.getvalue()


def _without_copies(pixels: UInt8Array) -> UInt8Array:
    """A slice, (row, column, channel); (row, column) where all channels are equal."""
    equal = all(np.array_equal(pixels[..., FLAIR], pixels[..., channel]) for channel in range(len(CHANNELS)))
    return pixels[..., FLAIR] if equal else pixels
