"""The pipeline: everything that inference computes of one study, in one function."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from metseg.contracts import OutOfDistributionCard
from metseg.imaging import Volume
from metseg.inference.out_of_distribution import detect_out_of_distribution
from metseg.inference.segmentation import OnSlice, Predictor, Segmentation, segment
from metseg.inference.uncertainty import estimate_uncertainty

__all__ = ["run_pipeline"]


def run_pipeline(
    volume: Volume,
    predictor: Predictor,
    reference: OutOfDistributionCard | None,
    *,
    threshold: float | None = None,
    ensemble: Callable[[], Sequence[Predictor]] | None = None,
    progress: Callable[[int, int], None] | None = None,
    on_slice: OnSlice | None = None,
    on_segmented: Callable[[], None] | None = None,
) -> Segmentation:
    """Segment a study, estimate the uncertainty where asked for, and compare the study with the training data.

    Args:
        volume: the study; one slice or many.
        predictor: the model.
        reference: the training data's, from the model's card; None compares nothing.
        threshold: from 0 to 1; None takes the model's own.
        ensemble: returns the other models for the uncertainty, called after segmentation; None estimates none.
        progress: called with (slices done, slices in all) after each slice; an exception that it raises stops the work.
        on_slice: called with each slice in order, while others are computed.
        on_segmented: called after segmentation, before the rest.

    Returns:
        The segmentation; a warning that the study is out of distribution comes first.
    """
    segmentation = segment(volume, predictor, threshold, progress, on_slice)
    if on_segmented is not None:
        on_segmented()
    if ensemble is not None:
        segmentation = estimate_uncertainty(volume, segmentation, [predictor, *ensemble()])
    if segmentation.model_input is None:
        return segmentation
    scale = predictor.preprocessing.pixel_scale
    familiarity = detect_out_of_distribution(segmentation.model_input, volume.present, reference, scale)
    warnings = [familiarity.words] if familiarity is not None and familiarity.unlike else []
    return replace(segmentation, familiarity=familiarity, warnings=(*warnings, *segmentation.warnings))
