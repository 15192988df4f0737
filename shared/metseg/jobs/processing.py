"""One job, from its inputs in the store to its result: inputs, volume, pipeline, results. No queue, no state."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from metseg import formats
from metseg.contracts import ModelCard, Request, Result, Structure
from metseg.imaging import Float32Array, Volume, check_fits, label_lesions
from metseg.inference import (
    Segmentation,
    choose_operating_points,
    identify_sequence,
    measured_structure,
    run_pipeline,
)
from metseg.jobs.inputs import JobInputs
from metseg.parallel import in_background, memory_limit_bytes
from metseg.results import OnPreview, Previews, build_artefacts, build_result, render_slices
from metseg.settings import Limits

__all__ = ["process"]


def process(
    request: Request,
    inputs: JobInputs,
    limits: Limits,
    on_progress: Callable[[int, int], None],
    *,
    on_preview: OnPreview | None = None,
) -> tuple[Result, Mapping[str, bytes]]:
    """Segment the study of a request.

    Args:
        request: as accepted.
        inputs: of the request; its files are closed once they are read.
        limits: of one submission.
        on_progress: called after each slice with the number of slices done and in all; an exception stops the work.
        on_preview: called once a second; see `Previews`.

    Returns:
        The result, and the artefacts by name.
    """
    clock = _Clock()
    predictor, warnings = inputs.predictor()
    uploads = inputs.files()
    clock.lap("load")
    volume = formats.read_volume(
        uploads,
        limits,
        sequence=request.sequence,
        align=request.align,
        threads=inputs.models.threads,
        check_size=partial(check_fits, memory_bytes=memory_limit_bytes(), uncertainty=request.uncertainty),
    )
    inputs.close_files()
    volume = identify_sequence(formats.exchange_sequences(volume, request.exchanged))
    clock.lap("read")
    points = choose_operating_points(volume, predictor, request.threshold)
    structure = measured_structure(points)
    previews = None if on_preview is None else Previews(volume, structure, points[structure], on_preview)
    probabilities = {one: formats.ProbabilityWriter(volume.shape, volume.spacing_mm, volume.affine) for one in points}

    def on_slice(index: int, slice_maps: Mapping[Structure, Float32Array]) -> None:
        for one, slice_map in slice_maps.items():
            probabilities[one].add(index, slice_map)
        if previews is not None:
            previews(index, slice_maps[structure])

    with in_background(partial(render_slices, volume)) as rendered:
        segmentation = run_pipeline(
            volume,
            predictor,
            predictor.card.familiarity,
            threshold=request.threshold,
            ensemble=partial(inputs.models.other_networks, predictor.card) if request.uncertainty else None,
            progress=on_progress,
            on_slice=on_slice,
            on_segmented=partial(clock.lap, "predict"),
        )
        segmentation = replace(segmentation, warnings=(*segmentation.warnings, *warnings))
        clock.lap("know")
        files = {one: writer.finish() for one, writer in probabilities.items()}
        artefacts = build_artefacts(volume, segmentation, probabilities=files, slice_archive=rendered())
    dicom_files, remarks = _dicom_results(request.id, volume, segmentation, predictor.card)
    segmentation = replace(segmentation, warnings=(*segmentation.warnings, *remarks))
    clock.lap("report")
    result = build_result(request.id, volume, segmentation, predictor.card, clock.laps_s)
    return result.model_copy(update={"dicom": bool(dicom_files)}), artefacts | dicom_files


def _dicom_results(
    job_id: str, volume: Volume, segmentation: Segmentation, card: ModelCard
) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """The results as DICOM and the headers for others, by name, and warnings; nothing if the study was not DICOM."""
    if volume.source != "dicom":
        return {}, ()
    from metseg.formats import dicom

    finder = dicom.AlgorithmRun(card.network, card.version, job_id)
    labels = label_lesions(segmentation.mask)
    whole = segmentation.structures["whole"].mask if segmentation.structure == "core" else None
    files, remarks = dicom.write_results(volume, labels, segmentation.lesions, finder, whole)
    return files | (dicom.store_source(volume) if files else {}), remarks


class _Clock:
    """How long each phase took: load (inputs and model), read, predict, know (out-of-distribution check), report."""

    def __init__(self) -> None:
        self.laps_s: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, phase: str) -> None:
        """Record the time since the last lap as that of `phase`."""
        now = time.perf_counter()
        self.laps_s[phase], self._last = round(now - self._last, 3), now
