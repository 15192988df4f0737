"""Finished jobs of one phantom patient, for tests of follow-up through gateway and worker."""

import numpy as np
from tests.gateways import Gateway, begin, png
from tests.slice_archives import archived
from tests.visits import Ball, Scanner, Visit, scan, time_point

from metseg import formats
from metseg.contracts import Job, Result, StructureMeasurements
from metseg.imaging import encode_png, label_lesions, measure_slices
from metseg.results import SLICE_ARCHIVE

A, B, C = (30.0, 20.0, 10.0), (-30.0, -20.0, 20.0), (-20.0, 40.0, 30.0)
BEFORE = Scanner(spacing_mm=(4.0, 2.0, 2.0))
AFTER = Scanner((3, -2, 5), (5, -4, 6), noise=4, bias=0.2, spacing_mm=(3.0, 2.0, 2.0))


def finish(
    gateway: Gateway, balls: list[Ball], scanner: Scanner = BEFORE, headers: dict[str, str] | None = None, **fields: str
) -> Job:
    """A job of a visit that has succeeded, with the fields of its submission."""
    response = gateway.submit(png(), headers=headers, **fields)
    assert response.status_code == 202, response.text
    job = Job.model_validate(response.json())
    finish_as(gateway, job.id, scan(balls, scanner))
    return job


def finish_as(gateway: Gateway, job_id: str, visit: Visit) -> None:
    """Finish a job as a worker does that outlines the visit's lesions without error."""
    assert begin(gateway.runner, job_id) is not None
    gateway.runner.finish(job_id, *outcome(job_id, visit))


def outcome(job_id: str, visit: Visit) -> tuple[Result, dict[str, bytes]]:
    """The result and the artefacts of a job that outlines the visit's lesions without error."""
    measured = StructureMeasurements(threshold=0.5, seed_threshold=0.5, min_voxels=1, voxels=0, volume_mm3=0)
    point = time_point(visit)
    result = point.result.model_copy(update={"job_id": job_id, "structures": {"core": measured, "whole": measured}})
    names = tuple(f"{index:03d}" for index in range(len(visit.mask)))
    flat = visit.mask.astype(np.float32)
    slices = measure_slices(visit.mask, result.lesions, names, visit.scanner.spacing_mm, flat)
    result = result.model_copy(update={"slices": slices})
    place = {"spacing_mm": visit.scanner.spacing_mm, "affine": visit.affine}
    labels = label_lesions(visit.mask)
    mask = formats.write_mask(visit.mask, names, "nifti", **place)
    probability = formats.write_probability(np.where(visit.mask, 0.9, 0.1).astype(np.float32), "nifti", **place)
    return result, {
        "mask.nii.gz": mask,
        "whole.nii.gz": mask,
        "probability.nii.gz": probability,
        "whole_probability.nii.gz": probability,
        "lesions.nii.gz": formats.write_labels(labels, labels.shape, int(labels.max()), *place.values()),
        SLICE_ARCHIVE: archived(encode_png(plane) for plane in visit.pixels.astype(np.uint8)),
    }
