"""Contours for planning systems: a GTV for each lesion of the core, and a PTV around it if a margin is asked for.

Without a known core nothing is called a target: FLAIR abnormality is mostly oedema, and a planner who finds it under
the name GTV would treat it. It is contoured under its name, and a margin around it is refused.
"""

from collections.abc import Iterator, Mapping
from typing import BinaryIO, NamedTuple

import numpy as np

from metseg.contracts import RESEARCH_ONLY, Grid, Lesion, OutlinedBy, Result
from metseg.errors import NoCore, NotAvailable, ProcessingFailed
from metseg.formats import StoredSlices, dicom
from metseg.imaging import Mask, Shape, Spacing, add_margin, bounding_box, region_from_canonical
from metseg.results.exports.finished_job import LESIONS, SOURCE_HEADERS, WHOLE_MASK, FinishedJob

__all__ = ["write_structure_set"]

MAX_BOX_VOXELS = 2**26
"""Of all lesions' boxes, which are in memory."""
FLAIR = "FLAIR_abn"
FLAIR_RGB = (150, 150, 150)
PROPOSED = f"proposed by metseg, {RESEARCH_ONLY.lower()}"


class Title(NamedTuple):
    """Name, description, kind, colour and origin of a region."""

    name: str
    description: str
    kind: dicom.RegionKind
    rgb: tuple[int, int, int]
    outlined_by: OutlinedBy


class Part(NamedTuple):
    """A part of the volume in the source's order.

    Attributes:
        mask: bool, (frame, row, column).
        first: frame, row and column of its first voxel.
    """

    mask: Mask
    first: Shape


def write_structure_set(job: FinishedJob, target: BinaryIO, margin_mm: float = 0) -> None:
    """Write the contours as a DICOM RT Structure Set.

    Args:
        job: a finished job, of a study that was uploaded as DICOM.
        target: where the file is written.
        margin_mm: around each GTV, of its PTV; 0 for none.

    Raises:
        NotFound: the study was not uploaded as DICOM.
        NoCore: a margin is asked for, and the core is not known.
        NotAvailable: nothing was found, or the contours would be too many.
    """
    with job.open_artefact(SOURCE_HEADERS) as stored:
        origin = dicom.read_source_archive(stored)
    result = job.result()
    if margin_mm and result.structure != "core":
        raise NoCore("A margin needs a target, and without a known core there is none; omit margin_mm.")
    if not result.structures["whole"].voxels and not result.lesions:
        raise NotAvailable("Nothing was found in this study, so there is nothing to contour.")
    algorithm = dicom.AlgorithmRun(result.network, result.model_version, result.job_id)
    regions = _regions(job, result, _planning_grid(result), margin_mm)
    made_at = job.finished_at() if result.review is None else result.review.reviewed_at
    dicom.write_structure_set(origin, regions, algorithm, made_at, target)


def _planning_grid(result: Result) -> tuple[Grid, Spacing]:
    """The grid of the source, and millimetres between its frames, rows and columns."""
    grid = result.grid
    if grid is None or grid.affine is None:
        raise NotAvailable("The positions of the images are not known, so there are no contours.")
    column_mm, row_mm, frame_mm = np.linalg.norm(np.array(grid.affine)[:3, :3], axis=0).tolist()
    return grid, (frame_mm, row_mm, column_mm)


def _regions(
    job: FinishedJob, result: Result, placed: tuple[Grid, Spacing], margin_mm: float
) -> Iterator[dicom.RegionOfInterest]:
    """Lesions in the order of their numbers, their margins, and the whole where lesions are of the core."""
    grid, spacing_mm = placed
    voxel_mm3 = float(np.prod(spacing_mm))
    parts = {number: _to_source(part, grid) for number, part in _lesion_parts(job, result).items()}
    for lesion in result.lesions:
        yield _region(_title(lesion, result), parts[lesion.number], voxel_mm3)
    for lesion in result.lesions if margin_mm else ():
        red, green, blue = _colour(lesion)
        lighter = (red + 255) // 2, (green + 255) // 2, (blue + 255) // 2
        title = Title(
            f"PTV{lesion.number}",
            _describe_margin(lesion, margin_mm, spacing_mm[0]),
            "PTV",
            lighter,
            lesion.outlined_by,
        )
        yield _region(title, _grow(parts[lesion.number], spacing_mm, margin_mm, grid.shape[2]), voxel_mm3)
    if result.structure == "core" and (whole := _whole_part(job)) is not None:
        description = f"FLAIR abnormality, lesions included; no target; {PROPOSED}"
        title = Title(FLAIR, description, "", FLAIR_RGB, "model" if result.review is None else "both")
        yield _region(title, _to_source(whole, grid), voxel_mm3)


def _colour(lesion: Lesion) -> tuple[int, int, int]:
    return dicom.COLOURS[(lesion.number - 1) % len(dicom.COLOURS)]


def _title(lesion: Lesion, result: Result) -> Title:
    label = "" if lesion.label is None else f" ({lesion.label})"
    if result.structure == "core":
        return Title(
            f"GTV{lesion.number}",
            f"Lesion {lesion.number}{label}; core; {PROPOSED}",
            "GTV",
            _colour(lesion),
            lesion.outlined_by,
        )
    description = f"FLAIR abnormality {lesion.number}{label}; no target; {PROPOSED}"
    return Title(f"{FLAIR}{lesion.number}", description, "", _colour(lesion), lesion.outlined_by)


def _describe_margin(lesion: Lesion, margin_mm: float, between_images_mm: float) -> str:
    apart = (
        "" if margin_mm >= between_images_mm else f"; reaches no other image: they are {between_images_mm:.3g} mm apart"
    )
    return f"GTV{lesion.number} and {margin_mm:g} mm around it, ending with the images{apart}; {PROPOSED}"


def _region(title: Title, part: Part, voxel_mm3: float) -> dicom.RegionOfInterest:
    return dicom.RegionOfInterest(*title, voxel_mm3 * np.count_nonzero(part.mask), part.mask, part.first)


def _to_source(part: Part, grid: Grid) -> Part:
    """A part, (slice, row, column), in the source's order."""
    voxels, first = region_from_canonical(part.mask, part.first, grid)
    return Part(voxels.transpose(2, 1, 0), first[::-1])


def _grow(part: Part, spacing_mm: Spacing, margin_mm: float, frames: int) -> Part:
    """A part with a margin, which ends with the frames but not with their rows and columns."""
    grown, reach = add_margin(part.mask, spacing_mm, margin_mm)
    first, row, column = (start - more for start, more in zip(part.first, reach, strict=True))
    kept = grown[max(0, -first) : frames - first]
    return Part(kept, (max(0, first), row, column))


def _lesion_parts(job: FinishedJob, result: Result) -> Mapping[int, Part]:
    """Each lesion by its number."""
    boxes = {lesion.number: lesion.box for lesion in result.lesions}
    shapes = {number: np.subtract(box.stop, box.first) for number, box in boxes.items()}
    _check_memory(sum(int(np.prod(shape)) for shape in shapes.values()))
    parts = {number: Part(np.zeros(shape, bool), boxes[number].first) for number, shape in shapes.items()}
    with job.open_artefact(LESIONS) as stored:
        for index, labels in enumerate(StoredSlices(stored)):
            for number, box in boxes.items():
                if box.first[0] <= index < box.stop[0]:
                    inside = labels[box.first[1] : box.stop[1], box.first[2] : box.stop[2]]
                    np.equal(inside, number, out=parts[number].mask[index - box.first[0]])
    if any(np.count_nonzero(parts[lesion.number].mask) != lesion.voxels for lesion in result.lesions):
        raise ProcessingFailed.damaged_result()
    return parts


def _whole_part(job: FinishedJob) -> Part | None:
    """The whole in its box; None where it is empty."""
    slices = {}
    with job.open_artefact(WHOLE_MASK) as stored:
        for index, one in enumerate(StoredSlices(stored)):
            if one.any():
                rows, columns = bounding_box(one > 0)
                slices[index] = rows, columns, one[rows, columns] > 0
    if not slices:
        return None
    first = min(slices), min(rows.start for rows, _, _ in slices.values()), min(c.start for _, c, _ in slices.values())
    stop = max(slices) + 1, max(rows.stop for rows, _, _ in slices.values()), max(c.stop for _, c, _ in slices.values())
    _check_memory(int(np.prod(np.subtract(stop, first))))
    mask = np.zeros(np.subtract(stop, first), bool)
    for index, (rows, columns, inside) in slices.items():
        box = (
            slice(rows.start - first[1], rows.stop - first[1]),
            slice(columns.start - first[2], columns.stop - first[2]),
        )
        mask[index - first[0]][box] = inside
    return Part(mask, first)


def _check_memory(voxels: int) -> None:
    if voxels > MAX_BOX_VOXELS:
        raise NotAvailable("The mask is too large for contours; request nifti or dicom-seg.")
