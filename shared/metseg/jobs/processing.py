"""One job, from its inputs in the store to its result: no queue, no state."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt

from metseg import formats
from metseg.contracts import ModelCard, Request, Result
from metseg.imaging import Volume, lesions
from metseg.inference import Models, OnnxPredictor, Segmentation, familiarity, look_again, segment
from metseg.jobs.inputs import Supplies
from metseg.parallel import in_background
from metseg.results import Glimpses, build_artefacts, build_result, render_slices
from metseg.settings import Limits

__all__ = ["process"]


def process(
    request: Request,
    supplies: Supplies,
    limits: Limits,
    progress: Callable[[int, int], None],
    *,
    keep_glimpse: Callable[[bytes], None] | None = None,
) -> tuple[Result, Mapping[str, bytes]]:
    """Segment what a request names.

    Args:
        request: as accepted.
        supplies: of the request, already asked for; closed once they are read.
        limits: of one submission.
        progress: told (slices done, slices in all) after each slice; what it raises ends the work.
        keep_glimpse: given a picture of the slices that are done, once a second.

    Returns:
        The result, and the artefacts beside it by name.
    """
    clock = _Clock()
    predictor, warnings = supplies.predictor()
    uploads = supplies.files()
    clock.lap("load")
    volume = formats.read(uploads, limits, align=request.align, threads=supplies.models.threads)
    supplies.close()
    clock.lap("read")
    threshold = predictor.threshold if request.threshold is None else request.threshold
    glimpses = None if keep_glimpse is None else Glimpses(volume, threshold, keep_glimpse)
    probability = formats.ProbabilityFile(volume.shape, volume.spacing_mm, volume.affine)

    def seen(index: int, here: npt.NDArray[np.float32]) -> None:
        probability.add(index, here)
        if glimpses is not None:
            glimpses(index, here)

    with in_background(partial(render_slices, volume)) as drawn:
        segmentation = segment(volume, predictor, threshold, progress, seen)
        segmentation = replace(segmentation, warnings=(*segmentation.warnings, *warnings))
        clock.lap("predict")
        segmentation = _known(volume, segmentation, predictor, supplies.models, again=request.uncertainty)
        clock.lap("know")
        artefacts = build_artefacts(volume, segmentation, probability=probability.finish(), pictures=drawn())
    own, remarks = _in_own_format(request.id, volume, segmentation, predictor.card)
    segmentation = replace(segmentation, warnings=(*segmentation.warnings, *remarks))
    clock.lap("report")
    result = build_result(request.id, volume, segmentation, predictor.card, clock.laps_s)
    return result.model_copy(update={"dicom": bool(own)}), artefacts | own


def _known(
    volume: Volume, segmentation: Segmentation, predictor: OnnxPredictor, models: Models, *, again: bool
) -> Segmentation:
    """A segmentation with what the model knows of its own limits; `again` asks for its uncertainty, too."""
    if again:
        segmentation = look_again(volume, segmentation, [predictor, *models.others(predictor.card)])
    if segmentation.prepared is None:
        return segmentation
    scale = predictor.preprocessing.pixel_scale
    familiar = familiarity(segmentation.prepared, predictor.card.familiarity, scale)
    remarks = [familiar.words] if familiar is not None and familiar.unlike else []
    return replace(segmentation, familiarity=familiar, warnings=(*remarks, *segmentation.warnings))


def _in_own_format(
    job_id: str, volume: Volume, segmentation: Segmentation, card: ModelCard
) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """What a study that came as DICOM is given back as DICOM, by name, and warnings; nothing for any other."""
    if volume.source != "dicom":
        return {}, ()
    from metseg.formats import dicom

    finder = dicom.Finder(card.network, card.version, job_id)
    return dicom.results(volume, lesions.label_lesions(segmentation.mask), segmentation.lesions, finder)


class _Clock:
    """How long each phase took."""

    def __init__(self) -> None:
        self.laps_s: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, phase: str) -> None:
        """Note what has passed since the last lap as the time of `phase`."""
        now = time.perf_counter()
        self.laps_s[phase], self._last = round(now - self._last, 3), now
