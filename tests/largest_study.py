"""The largest study within the limits as a finished job: 1,024 slices of 512 x 512, made without a model."""

import numpy as np
from tests.models import VERSION
from tests.segmentations import measured_structures
from tests.slice_archives import archived

from metseg.contracts import Grid, Lesion, NiftiGeometry, Result, SliceMeasurements
from metseg.formats import ProbabilityWriter, write_mask
from metseg.imaging import encode_png, lesions
from metseg.results import SLICE_ARCHIVE

SHAPE = (1024, 512, 512)
DISC_PX = 20


def largest_artefacts(shape: tuple[int, int, int] = SHAPE) -> dict[str, bytes]:
    """The artefacts of a study with a lesion of noise in each slice, quick to compress."""
    slices, rows, columns = shape
    rng = np.random.default_rng(0)
    radius = np.hypot(*np.ogrid[-rows // 2 : rows - rows // 2, -columns // 2 : columns - columns // 2])
    disc = radius < DISC_PX
    maps = [np.where(disc, rng.random(disc.shape, np.float32), np.float32(0)) for _ in range(4)]
    pngs = [encode_png((255 * one).astype(np.uint8)) for one in maps]
    mask, probability = np.empty(shape, bool), ProbabilityWriter(shape, None, None)
    for index in range(slices):
        mask[index] = disc & (radius > index % DISC_PX)
        probability.add(index, maps[index % 4])
    values = probability.finish()
    return {
        "mask.nii.gz": write_mask(mask, (), "nifti"),
        "probability.nii.gz": values,
        "whole.nii.gz": write_mask(mask, (), "nifti"),
        "whole_probability.nii.gz": values,
        "uncertainty.nii.gz": values,
        SLICE_ARCHIVE: archived(pngs[index % 4] for index in range(slices)),
    }


def largest_result(job_id: str, shape: tuple[int, int, int] = SHAPE, *, as_nifti: bool = False) -> Result:
    """Its result; of a NIfTI volume in an order of axes in which every slice touches every plane of the file."""
    slices, rows, columns = shape
    return Result(
        job_id=job_id,
        model_version=VERSION,
        network="tiny",
        structure="core",
        structures=measured_structures(np.zeros((1, 1, 1), np.bool_)),
        shape=shape,
        spacing_mm=(1.0, 1.0, 1.0),
        lesions=[_lesion(number, index) for number, index in enumerate((0, slices // 2, slices - 1), 1)],
        slices=[
            SliceMeasurements(
                index=index, name=f"slice_{index:04d}", lesions=[], area_px=9, area_mm2=9, highest_probability=1
            )
            for index in range(slices)
        ],
        warnings=[],
        durations_s={},
        grid=_grid((columns, slices, rows)) if as_nifti else None,
    )


def _lesion(number: int, index: int) -> Lesion:
    mask = np.zeros((1, 32, 32), bool)
    mask[0, 8:12, 8:12] = True
    [lesion] = lesions.measure(mask, (1.0, 1.0, 1.0), mask.astype(np.float32))
    return lesion.model_copy(update={"number": number, "largest_slice": index})


def _grid(file_shape: tuple[int, int, int]) -> Grid:
    header = NiftiGeometry(
        version=1,
        dim=list(file_shape),
        pixdim=(1, 1, 1, 1),
        xyzt_units=2,
        qform_code=0,
        sform_code=1,
        quatern=(0, 0, 0),
        qoffset=(0, 0, 0),
        srow=((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0)),
    )
    return Grid(axes=(1, 2, 0), flipped=(False, True, True), shape=file_shape, affine=None, nifti=header)
