"""Contours for planning: read back by an independent reader they are the lesions, in every order of axes."""

import io
from datetime import UTC, datetime
from functools import partial

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.dicoms import ORDERS, SHAPE, edited, figure_files, in_order, volume_of
from tests.finished_jobs import job_that_found, made, of_whole_alone, planned
from tests.structure_sets import dice, read_structure_set

from metseg.contracts import ReviewStamp
from metseg.errors import InvalidParameter, NoCore, NotAvailable, NotFound, ProcessingFailed
from metseg.formats import read_mask
from metseg.imaging import add_margin, from_canonical, label_lesions, to_canonical
from metseg.phantom.dicom import SERIES_PARAMETERS, enhanced_file
from metseg.results import exports
from metseg.results.exports import SOURCE_HEADERS, planning

AXIAL = ((0, 1, 2), (True, True, False))


def contours(job, margin_mm=0):
    return made(exports.find_export("mask", "rtstruct", margin_mm=margin_mm).write, job)


def images(files):
    """The images of a series along their normal, as the standard orders them."""
    found = [pydicom.dcmread(io.BytesIO(content)) for content in files.values()]
    cosines = np.array(found[0].ImageOrientationPatient, float)
    normal = np.cross(cosines[:3], cosines[3:])
    return sorted(found, key=lambda each: np.array(each.ImagePositionPatient, float) @ normal)


def stacked(region, series):
    """The mask of a region, (image, row, column)."""
    empty = np.zeros((series[0].Rows, series[0].Columns), bool)
    return np.stack([region.masks.get(each.SOPInstanceUID, empty) for each in series])


def whole_as_scanned(job):
    """The whole, (image, row, column)."""
    whole = read_mask(job.artefacts["whole.nii.gz"])
    return from_canonical(whole, job.figures.grid).transpose(2, 1, 0)


def blobs(seed):
    """Lesions with holes, bridges and single voxels, (x, y, z) in RAS."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(SHAPE, bool)
    for _ in range(4):
        start = rng.integers(0, np.array(SHAPE) - 6)
        size = rng.integers(1, 7, 3)
        box = tuple(slice(begin, begin + length) for begin, length in zip(start, size, strict=True))
        mask[box] = rng.random(mask[box].shape) < rng.choice([0.5, 0.8, 1])
    mask[tuple(rng.integers(0, SHAPE))] = True
    return mask


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow], phases=[Phase.generate])
@given(st.sampled_from(ORDERS), st.integers(0, 10_000))
def test_contours_are_the_lesions_voxel_by_voxel_in_every_order_of_axes(order, seed):
    files = figure_files(*order)
    volume, mask = volume_of(files), in_order(blobs(seed), *order)[0]  # (column, row, image) as scanned
    job = planned(volume, np.ascontiguousarray(to_canonical(mask, volume.grid)))
    series = images(files)
    regions = read_structure_set(contours(job), series)
    labels = label_lesions(job.mask)
    for lesion in job.figures.lesions:
        region = regions[f"GTV{lesion.number}"]
        scanned = sum(np.count_nonzero(each) for each in region.masks.values())
        assert scanned == lesion.voxels == np.count_nonzero(labels == lesion.number)
    found = sum(stacked(regions[f"GTV{lesion.number}"], series).astype(int) for lesion in job.figures.lesions)
    assert dice(found > 0, mask.T) >= 0.99
    assert np.array_equal(found > 0, mask.T)
    assert found.max() == 1


@pytest.fixture(scope="module")
def study(head, files):
    """A job whose core is the two largest lesions, and the images of its FLAIR."""
    volume = volume_of(files)
    labels = label_lesions(head.mask)
    uid = volume.origin.headers[0].SeriesInstanceUID
    series = [each for each in images(files) if uid == each.SeriesInstanceUID]
    return planned(volume, (labels == 1) | (labels == 2), head.mask), series


def test_targets_are_named_coloured_and_measured_as_in_the_report(study):
    job, series = study
    regions = read_structure_set(contours(job, margin_mm=2), series)
    assert list(regions) == ["GTV1", "GTV2", "PTV1", "PTV2", "FLAIR_abn"]
    assert [region.kind for region in regions.values()] == ["GTV", "GTV", "PTV", "PTV", ""]
    assert [region.number for region in regions.values()] == [1, 2, 3, 4, 5]
    assert len({region.rgb for region in regions.values()}) == 5
    for lesion in job.figures.lesions:
        region = regions[f"GTV{lesion.number}"]
        assert region.volume_ml == pytest.approx(lesion.volume_mm3 / 1000, rel=1e-5)
        assert f"Lesion {lesion.number}" in region.description
        assert "esearch use only" in region.description
    assert dice(stacked(regions["FLAIR_abn"], series), whole_as_scanned(job)) == 1


def test_a_set_is_an_unapproved_proposal_in_the_study_of_its_images(study):
    job, series = study
    found = pydicom.dcmread(io.BytesIO(contours(job)))
    assert found.ApprovalStatus == "UNAPPROVED"
    assert "Research use only" in found.StructureSetDescription
    assert (found.StructureSetDate, found.StructureSetTime) == ("20260102", "030400")
    assert all(each.ROIGenerationAlgorithm == "AUTOMATIC" for each in found.StructureSetROISequence)
    for keyword in ("StudyInstanceUID", "PatientID", "PatientName", "FrameOfReferenceUID"):
        assert found[keyword].value == series[0][keyword].value
    [frame] = found.ReferencedFrameOfReferenceSequence
    [referenced] = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence
    assert referenced.SeriesInstanceUID == series[0].SeriesInstanceUID != found.SeriesInstanceUID
    assert [each.ReferencedSOPInstanceUID for each in referenced.ContourImageSequence] == [
        each.SOPInstanceUID for each in series
    ]


def test_contours_of_a_review_say_so_and_are_dated_by_it(head, files):
    job = planned(volume_of(files), head.mask)
    stamp = ReviewStamp(number=1, reviewed_by="reader", reviewed_at=datetime(2026, 2, 3, 4, 5, tzinfo=UTC))
    [first, *others] = job.figures.lesions
    lesions_ = [first.model_copy(update={"label": "left frontal", "outlined_by": "reader"}), *others]
    job.figures = job.figures.model_copy(update={"review": stamp, "lesions": lesions_})
    found = pydicom.dcmread(io.BytesIO(contours(job)))
    origins = [each.ROIGenerationAlgorithm for each in found.StructureSetROISequence]
    assert origins == ["MANUAL", *["AUTOMATIC"] * len(others), "SEMIAUTOMATIC"]
    assert found.StructureSetDate == "20260203"
    assert "left frontal" in found.StructureSetROISequence[0].ROIDescription


def test_equal_contours_are_one_instance_and_others_another(study):
    job, _ = study
    read = [pydicom.dcmread(io.BytesIO(contours(job, margin_mm))) for margin_mm in (0, 0, 2)]
    assert contours(job) == contours(job)
    assert read[0].SOPInstanceUID == read[1].SOPInstanceUID != read[2].SOPInstanceUID
    assert len({each.SeriesInstanceUID for each in read}) == 1


@pytest.mark.parametrize("order", [ORDERS[7], ORDERS[20], ORDERS[41]])
def test_a_planning_target_is_the_lesion_with_its_margin_on_the_source(order):
    files, core = figure_files(*order), np.zeros(SHAPE, bool)
    core[6:10, 9:12, 10:14] = True
    volume, mask = volume_of(files), in_order(core, *order)[0]
    job = planned(volume, np.ascontiguousarray(to_canonical(mask, volume.grid)))
    series = images(files)
    region = read_structure_set(contours(job, margin_mm=2.5), series)["PTV1"]
    distance_mm = float(np.linalg.norm(np.subtract(series[1].ImagePositionPatient, series[0].ImagePositionPatient)))
    grown, reach = add_margin(mask.T, (distance_mm, *map(float, series[0].PixelSpacing)), 2.5)
    inside = tuple(slice(more, more + length) for more, length in zip(reach, mask.T.shape, strict=True))
    assert np.array_equal(stacked(region, series), grown[inside])
    assert region.volume_ml == pytest.approx(np.count_nonzero(grown) * 1.0 * 1.1 * 1.3 / 1000, rel=1e-4)


def test_a_margin_ends_with_the_images_but_not_with_their_pixels():
    files, core = figure_files(*AXIAL), np.zeros(SHAPE, bool)
    core[0:2, 9:12, 22:24] = True
    volume = volume_of(files)
    mask = in_order(core, *AXIAL)[0]
    job = planned(volume, np.ascontiguousarray(to_canonical(mask, volume.grid)))
    found = pydicom.dcmread(io.BytesIO(contours(job, margin_mm=4)))
    points = np.concatenate(
        [np.reshape(each.ContourData, (-1, 3)) for each in found.ROIContourSequence[1].ContourSequence]
    )
    positions = np.array([each.ImagePositionPatient for each in images(files)], float)
    assert points[:, 2].max() == pytest.approx(positions[:, 2].max())
    assert points[:, 0].max() > positions[:, 0].max() + 3


def test_without_a_core_nothing_is_called_a_target(study, head, files):
    job = of_whole_alone(planned(volume_of(files), head.mask))
    regions = read_structure_set(contours(job), study[1])
    assert {name[:9] for name in regions} == {"FLAIR_abn"}
    assert {region.kind for region in regions.values()} == {""}
    assert all("no target" in region.description for region in regions.values())
    with pytest.raises(NoCore, match="target"):
        contours(job, margin_mm=1)


def test_nothing_found_is_refused(head, files):
    with pytest.raises(NotAvailable, match="Nothing was found"):
        contours(planned(volume_of(files), np.zeros_like(head.mask)))


def test_a_study_without_dicom_has_no_contours(head):
    with pytest.raises((NotFound, KeyError)):
        contours(job_that_found(head.volume, head.mask))


def test_contours_on_an_enhanced_file_name_its_frames(head):
    pixels = head.volume.pixels[..., 1].astype(np.uint16)
    order = [*range(7, -1, -1)]
    content = enhanced_file(pixels, head.volume.affine, SERIES_PARAMETERS["flair"], order)
    job = planned(volume_of({"x": content}), head.mask)
    enhanced = pydicom.dcmread(io.BytesIO(content))
    found = pydicom.dcmread(io.BytesIO(contours(job)))
    for region in found.ROIContourSequence:
        for each in region.ContourSequence:
            [reference] = each.ContourImageSequence
            assert reference.ReferencedSOPInstanceUID == enhanced.SOPInstanceUID
            frame = enhanced.PerFrameFunctionalGroupsSequence[reference.ReferencedFrameNumber - 1]
            assert each.ContourData[2] == pytest.approx(
                frame.PlanePositionSequence[0].ImagePositionPatient[2], abs=1e-3
            )


def test_a_margin_goes_on_across_a_missing_image():
    kept = edited(figure_files(*AXIAL), lambda _, index: index != 12)
    volume = volume_of(kept)
    assert volume.shape[0] == 24
    core = np.zeros(SHAPE, bool)
    core[6:10, 9:12, 9:12] = True
    mask = in_order(core, *AXIAL)[0]
    job = planned(volume, np.ascontiguousarray(to_canonical(mask, volume.grid)))
    found = pydicom.dcmread(io.BytesIO(contours(job, margin_mm=3)))
    planes = {
        round(float(each.ContourData[2]), 2): "ContourImageSequence" in each
        for each in found.ROIContourSequence[1].ContourSequence
    }
    steps = np.diff(sorted(planes))
    assert steps == pytest.approx(1.3)
    assert list(planes.values()).count(False) == 1


def test_a_name_in_any_script_is_kept(head, files):
    def named(dataset, _):
        dataset.SpecificCharacterSet, dataset.PatientName = (
            ["", "ISO 2022 IR 87"],
            "Yamada^Tarou=山田^太郎=やまだ^たろう",
        )

    job = planned(volume_of(edited(files, named)), head.mask)
    assert str(pydicom.dcmread(io.BytesIO(contours(job))).PatientName) == "Yamada^Tarou=山田^太郎=やまだ^たろう"


def test_intricate_masks_are_refused(study, monkeypatch):
    monkeypatch.setattr("metseg.formats.dicom.structure_set.MAX_CORNERS", 40)
    with pytest.raises(NotAvailable, match="intricate"):
        contours(study[0])
    monkeypatch.setattr(planning, "MAX_BOX_VOXELS", 40)
    with pytest.raises(NotAvailable, match="too large"):
        contours(study[0])


def test_labels_that_are_not_those_of_the_result_are_reported(head, files):
    job = planned(volume_of(files), head.mask)
    [first, *others] = job.figures.lesions
    changed = [first.model_copy(update={"voxels": first.voxels + 1}), *others]
    job.figures = job.figures.model_copy(update={"lesions": changed})
    with pytest.raises(ProcessingFailed):
        contours(job)
    job.artefacts[SOURCE_HEADERS] = b"PK"
    with pytest.raises(ProcessingFailed):
        contours(job)


@pytest.mark.parametrize("margin_mm", [-1, 31, float("nan"), float("inf")])
def test_an_impossible_margin_is_refused(margin_mm):
    with pytest.raises(InvalidParameter, match="margin"):
        exports.find_export("mask", "rtstruct", margin_mm=margin_mm)


def test_only_contours_have_a_margin():
    find = partial(exports.find_export, "mask", margin_mm=1)
    with pytest.raises(InvalidParameter, match="rtstruct"):
        find("nifti")
    assert find("rtstruct").query == {"format": "rtstruct", "margin_mm": "1"}
    assert find("rtstruct").file_name != exports.EXPORTS["rtstruct"].file_name
