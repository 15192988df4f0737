"""DICOM for tests: phantoms as uploads, an asymmetric figure in any axis order, an independent reader of SEG."""

import io
import itertools
import zipfile

import numpy as np
import pydicom

from metseg.formats import Upload, dicom, read_volume
from metseg.formats.dicom.segmentation import Findings, build_segmentation
from metseg.imaging import from_canonical, label_lesions, lesions
from metseg.phantom.dicom import SERIES_PARAMETERS, SeriesParameters, series_files
from metseg.settings import Limits

LIMITS = Limits()
SLICES = 8
"""Seed of the study that tests share."""
FINDER = dicom.AlgorithmRun("attention-unet", "20260101-000000-attention-unet", "019ab3f2c4d87e5f9a60b1c2d3e4f506")
SHAPE = (18, 20, 24)  # right to left, back to front, feet to head: no two sides are equal
SIZES_MM = (1.0, 1.1, 1.3)
ORDERS = [
    (axes, flips) for axes in itertools.permutations(range(3)) for flips in itertools.product((False, True), repeat=3)
]


def uploads(files, role=None):
    return [Upload(name, io.BytesIO(content), role) for name, content in files.items()]


def edited(files, edit):
    """The files with each data set edited."""
    changed = {}
    for index, (name, content) in enumerate(files.items()):
        found = pydicom.dcmread(io.BytesIO(content))
        if edit(found, index) is not False:
            target = io.BytesIO()
            found.save_as(target, enforce_file_format=True)
            changed[name] = target.getvalue()
    return changed


def warned(volume, words):
    return any(words in warning for warning in volume.warnings)


def zipped(files):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return target.getvalue()


def volume_of(files, role=None, **options):
    return read_volume(uploads(files, role), LIMITS, **options)


def figure():
    """An F-shaped lesion in a ramp, (x, y, z) in RAS: no two orientations look alike."""
    ramp = np.add.outer(np.add.outer(np.arange(18) * 3, np.arange(20) * 50), np.arange(24) * 400).astype(np.uint16)
    mask = np.zeros(SHAPE, bool)
    mask[4:6, 5:15, 6:8] = True
    mask[6:13, 5:7, 6:8] = True
    mask[6:10, 9:11, 6:8] = True
    mask[4:6, 5:7, 8:16] = True
    mask[14, 17, 20] = True
    return ramp, mask


def in_order(array, axes, flips):
    """An RAS array with its axes in that order and direction, and the affine that keeps its position."""
    turned = array.transpose(axes)[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    affine[:3, 3] = (-30.0, 12.5, 7.25)
    for axis, (world, flip) in enumerate(zip(axes, flips, strict=True)):
        affine[world, axis] = -SIZES_MM[world] if flip else SIZES_MM[world]
        affine[world, 3] += SIZES_MM[world] * (array.shape[world] - 1) if flip else 0
    return turned, affine


def figure_files(axes, flips, role="flair", **more):
    """The figure as a series whose columns, rows and slices run along those axes."""
    turned, affine = in_order(figure()[0], axes, flips)
    return series_files(
        np.ascontiguousarray(turned.T), affine, SeriesParameters(**{**vars(SERIES_PARAMETERS[role]), **more})
    )


def answered(volume, mask, whole=None):
    """A result's files, lesions and warnings; with `whole` the lesions are of the core."""
    found = lesions.measure(mask, volume.spacing_mm, mask.astype(np.float32))
    files, warnings = dicom.write_results(volume, label_lesions(mask), found, FINDER, whole)
    return files, found, warnings


def reviewed_results(volume, mask, whole=None):
    """A reviewed result's files and lesions: the first lesion is the model's, the second edited, the others drawn."""
    origins = ("model", "both", "reader")
    found = [
        lesion.model_copy(update={"outlined_by": origins[min(index, 2)], "label": ("links frontal é", None)[index % 2]})
        for index, lesion in enumerate(lesions.measure(mask, volume.spacing_mm, mask.astype(np.float32)))
    ]
    observation = dicom.Observation(number=3, reader="ward-3", changed_whole=True)
    place = dicom.Placement(volume.origin, volume.grid, volume.spacing_mm)
    files, _ = dicom.write_findings(place, label_lesions(mask), found, FINDER, whole, observation=observation)
    return files, found


def segmented(volume, mask):
    """The SEG alone, its frames in the source's order."""
    on_source = from_canonical(label_lesions(mask), volume.grid).transpose(2, 1, 0)
    found = lesions.measure(mask, volume.spacing_mm, mask.astype(np.float32))
    target = io.BytesIO()
    build_segmentation(volume.origin, on_source, Findings(found, of_core=False), FINDER).save_as(
        target, enforce_file_format=True
    )
    return target.getvalue()


def points(mask, affine):
    """The positions of a mask's voxels, in the order of `affine`, in RAS millimetres."""
    indices = np.argwhere(mask)
    return {tuple(np.round(affine @ (*index, 1), 3)[:3]) for index in indices}


def points_of_segmentation(data):
    """The same of a DICOM SEG from each frame's geometry, by the standard's formula alone (PS3.3 C.7.6.2)."""
    found = pydicom.dcmread(io.BytesIO(data))
    shared = found.SharedFunctionalGroupsSequence[0]
    frames = found.pixel_array.reshape(-1, found.Rows, found.Columns)
    points = set()
    for groups, frame in zip(found.PerFrameFunctionalGroupsSequence, frames, strict=True):
        own = {**{each.keyword: each.value for each in shared}, **{each.keyword: each.value for each in groups}}
        orientation = np.array(own["PlaneOrientationSequence"][0].ImageOrientationPatient, float)
        position = np.array(own["PlanePositionSequence"][0].ImagePositionPatient, float)
        between_rows, between_columns = map(float, own["PixelMeasuresSequence"][0].PixelSpacing)
        for row, column in np.argwhere(frame):
            lps = position + orientation[:3] * between_columns * column + orientation[3:] * between_rows * row
            points.add(tuple(np.round(lps * (-1, -1, 1), 3)))
    return points
