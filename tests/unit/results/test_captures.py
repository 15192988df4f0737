"""Pictures for a PACS: a series of the study, derived, with the outlines and numbers of the lesions."""

import io
import zipfile
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pydicom
import pytest
from tests.dicoms import ORDERS, SHAPE, edited, figure_files, in_order, volume_of
from tests.finished_jobs import made, planned

from metseg.contracts import ReviewStamp
from metseg.imaging import LESION_RGB, to_canonical
from metseg.results import exports

AXIAL = ((0, 1, 2), (True, True, False))
WRITE = exports.EXPORTS["secondary-capture"].write


def pictures(job):
    archive = zipfile.ZipFile(io.BytesIO(made(WRITE, job)))
    return [pydicom.dcmread(io.BytesIO(archive.read(name))) for name in archive.namelist()]


@pytest.fixture(scope="module")
def job(head, files):
    return planned(volume_of(files), head.mask)


def test_there_is_a_picture_of_each_slice_in_one_series_of_the_study(job):
    source = job.volume.origin.headers[0]
    found = pictures(job)
    assert len(found) == len(job.mask)
    assert len({each.SOPInstanceUID for each in found}) == len(found)
    [series] = {each.SeriesInstanceUID for each in found}
    assert series != source.SeriesInstanceUID
    for index, each in enumerate(found, start=1):
        assert each.SOPClassUID == pydicom.uid.SecondaryCaptureImageStorage
        assert (each.StudyInstanceUID, each.PatientID) == (source.StudyInstanceUID, source.PatientID)
        assert (each.InstanceNumber, each.ImageType) == (index, ["DERIVED", "SECONDARY"])
        assert "esearch use only" in each.SeriesDescription + each.ImageComments


def test_lesions_are_outlined_where_they_are(job):
    for each, mask in zip(pictures(job), job.mask, strict=True):
        pixels = each.pixel_array
        assert pixels.dtype == np.uint8
        drawn = (pixels == LESION_RGB).all(axis=2)
        assert drawn.any() == mask.any()
        scale = pixels.shape[0] / mask.shape[0]
        for row, column in np.argwhere(mask):
            middle = int((row + 0.5) * scale), int((column + 0.5) * scale)
            assert not drawn[middle], "a line runs around a lesion, not across it"


def test_a_ruler_on_a_picture_measures_millimetres(job):
    picture = pictures(job)[0]
    _, row_mm, column_mm = job.volume.spacing_mm
    assert picture.PixelSpacing[0] * picture.Rows == pytest.approx(row_mm * 64)
    assert picture.PixelSpacing[1] * picture.Columns == pytest.approx(column_mm * 64)


@pytest.mark.parametrize(
    ("order", "orientation"),
    [(AXIAL, ["L", "P"]), (ORDERS[20], ["L", "P"]), (((0, 2, 1), (True, True, False)), ["L", "P"])],
)
def test_a_picture_refers_to_the_image_that_it_shows(order, orientation):
    files = figure_files(*order)
    volume = volume_of(files)
    core = np.zeros(SHAPE, bool)
    core[6:10, 9:12, 10:14] = True
    job = planned(volume, np.ascontiguousarray(to_canonical(in_order(core, *order)[0], volume.grid)))
    found = pictures(job)
    assert all(each.PatientOrientation == orientation for each in found)
    images = {each.SOPInstanceUID: each for each in (pydicom.dcmread(io.BytesIO(data)) for data in files.values())}
    if volume.grid.axes[0] != 2:
        assert not any("SourceImageSequence" in each for each in found), "slices run across the images"
        return
    for each, mask in zip(found, job.mask, strict=True):
        image = images[each.SourceImageSequence[0].ReferencedSOPInstanceUID]
        superior_mm = float(image.ImagePositionPatient[2])
        expected = job.volume.affine @ (0, 0, each.InstanceNumber - 1, 1)
        assert superior_mm == pytest.approx(expected[2], abs=1e-3)
        assert mask.shape == (image.Rows, image.Columns) or volume.grid.axes[1] != 1


@pytest.mark.parametrize("stated", ["YES", "NO", None])
def test_what_the_source_says_of_burned_in_annotation_is_kept(head, files, stated):
    def say(dataset, _):
        if stated is not None:
            dataset.BurnedInAnnotation = stated

    found = pictures(planned(volume_of(edited(files, say)), head.mask))
    assert {each.get("BurnedInAnnotation") for each in found} == {stated}


def test_equal_results_give_equal_pictures_and_a_review_another_series(job):
    assert made(WRITE, job) == made(WRITE, job)
    stamp = ReviewStamp(number=2, reviewed_at=datetime(2026, 2, 3, tzinfo=UTC))
    reviewed = replace(job, figures=job.figures.model_copy(update={"review": stamp}))
    assert pictures(reviewed)[0].SeriesInstanceUID != pictures(job)[0].SeriesInstanceUID
