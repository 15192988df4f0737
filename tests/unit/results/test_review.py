"""A review applied to a stored answer: exact voxels, decisions that last, figures that follow."""

import gzip
import io

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.reviews import SHAPE, STAMP, THREE, answered, ball_probability, model_answer, reviewed, runs_of

from metseg.contracts import Result, Review
from metseg.errors import InvalidParameter, ProcessingFailed
from metseg.formats import read_mask
from metseg.results.review import build_review_artefacts, read_model_answer

ANSWER = model_answer()
PEAKS = [lesion.peak for lesion in ANSWER.result.lesions]
VOXELS = int(np.prod(SHAPE))
voxel_sets = st.lists(st.integers(0, VOXELS - 1), min_size=1, max_size=60)


def masked(numbers):
    mask = np.zeros(VOXELS, bool)
    mask[numbers] = True
    return mask.reshape(SHAPE)


def lesion_mask(answer, number):
    [(region, component)] = [answer.components[number - 1]]
    mask = np.zeros(SHAPE, bool)
    mask[region] = component
    return mask


def test_an_empty_review_changes_nothing_but_says_that_it_was_reviewed():
    found = reviewed(ANSWER)
    for name, mask in ANSWER.masks.items():
        np.testing.assert_array_equal(found.masks[name], mask)
    assert found.result.review == STAMP
    before = ANSWER.result.model_dump(exclude={"review"})
    after = found.result.model_dump(exclude={"review"})
    for lesion, other in zip(before["lesions"], after["lesions"], strict=True):
        for figure in ("mean_probability", "lowest_probability"):
            assert lesion.pop(figure) == pytest.approx(other.pop(figure), abs=1e-4)  # stored in 16 bits
    assert after == before
    assert (found.agreement.dice, found.agreement.lesions_added) == ({"core": 1, "whole": 1}, 0)


def test_rejecting_all_lesions_leaves_nothing():
    found = reviewed(ANSWER, lesions=[{"voxel": peak, "decision": "reject"} for peak in PEAKS])
    assert not found.masks["core"].any()
    assert not found.masks["whole"].any(), "the abnormality around rejected cores goes with them"
    assert found.result.lesions == []
    assert len(found.result.rejected) == 3
    assert found.result.target_diameter_sum_mm is None
    assert sum(each.area_px for each in found.result.slices) == 0
    assert found.agreement.lesions_rejected == 3
    assert found.agreement.dice == {"core": 0, "whole": 0}


def test_a_rejected_lesion_leaves_the_figures_of_the_others():
    first, second, third = ANSWER.result.lesions
    found = reviewed(ANSWER, lesions=[{"voxel": second.peak, "decision": "reject"}])
    assert [each.volume_mm3 for each in found.result.lesions] == [first.volume_mm3, third.volume_mm3]
    assert [each.number for each in found.result.lesions] == [1, 2]
    assert found.result.rejected[0].peak == second.peak
    expected = [each.long_diameter_mm for each in found.result.lesions if each.target]
    assert found.result.target_diameter_sum_mm == pytest.approx(sum(expected)) or not expected
    assert found.result.structures["core"].voxels == first.voxels + third.voxels


def test_an_abnormality_with_a_kept_core_stays_around_a_rejected_one():
    answer = model_answer([((2, 8, 6), 3.0), ((2, 8, 16), 3.0)])
    bridge = np.zeros(SHAPE, bool)
    bridge[2, 8, 6:16] = True
    one, other = [lesion.peak for lesion in answer.result.lesions]
    found = reviewed(
        answer,
        corrections={"whole": {"added": runs_of(bridge)}},
        lesions=[{"voxel": one, "decision": "reject"}, {"voxel": other}],
    )
    np.testing.assert_array_equal(found.masks["whole"], answer.masks["whole"] | bridge)
    assert not found.masks["core"][one]
    assert found.masks["core"][other]


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_lower_threshold_never_removes_a_voxel(one, other):
    low, high = sorted((one, other))
    for structure in ("core", "whole"):
        larger, smaller = (reviewed(ANSWER, thresholds={structure: each}).masks for each in (low, high))
        assert (larger[structure] | ~smaller[structure]).all()
        assert (larger["whole"] | ~larger["core"]).all()


def test_the_threshold_marks_what_the_stored_map_says():
    probability = np.stack(list(ANSWER.probabilities["core"]))
    found = reviewed(ANSWER, thresholds={"core": 0.8})
    np.testing.assert_array_equal(found.masks["core"], probability >= np.float32(0.8))
    assert found.result.structures["core"].threshold == 0.8
    assert found.result.threshold == 0.8


@given(voxel_sets)
def test_the_brush_adds_exactly_those_voxels(numbers):
    painted = masked(numbers)
    for structure in ("core", "whole"):
        found = reviewed(ANSWER, corrections={structure: {"added": runs_of(painted)}}).masks
        np.testing.assert_array_equal(found[structure], ANSWER.masks[structure] | painted)
        np.testing.assert_array_equal(found["whole"], ANSWER.masks["whole"] | painted)


@given(voxel_sets)
def test_the_eraser_removes_exactly_those_voxels(numbers):
    wiped = masked(numbers)
    of_core = reviewed(ANSWER, corrections={"core": {"erased": runs_of(wiped)}}).masks
    np.testing.assert_array_equal(of_core["core"], ANSWER.masks["core"] & ~wiped)
    np.testing.assert_array_equal(of_core["whole"], ANSWER.masks["whole"])
    of_whole = reviewed(ANSWER, corrections={"whole": {"erased": runs_of(wiped)}}).masks
    for structure in ("core", "whole"):
        np.testing.assert_array_equal(of_whole[structure], ANSWER.masks[structure] & ~wiped)


def test_a_lesion_says_who_outlined_it():
    painted, drawn = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    painted[PEAKS[0][0], PEAKS[0][1], : PEAKS[0][2]], drawn[5, 20:23, 2:5] = True, True
    found = reviewed(ANSWER, corrections={"core": {"added": runs_of(painted | drawn)}}).result.lesions
    by_place = {lesion.outlined_by: lesion for lesion in found}
    assert set(by_place) == {"model", "reader", "both"}
    assert by_place["reader"].voxels == np.count_nonzero(drawn)
    assert by_place["both"].voxels > ANSWER.result.lesions[0].voxels
    assert {lesion.outlined_by for lesion in reviewed(ANSWER, thresholds={"core": 0.6}).result.lesions} == {"both"}


def test_joined_lesions_are_measured_as_one():
    one, other, last = ANSWER.result.lesions
    found = reviewed(ANSWER, joined=[[one.peak, other.peak]], lesions=[{"voxel": other.peak, "label": "left"}])
    joined, rest = found.result.lesions
    assert joined.voxels == one.voxels + other.voxels
    assert joined.label == "left"
    assert rest.voxels == last.voxels
    assert joined.long_diameter_mm > max(one.long_diameter_mm, other.long_diameter_mm), "measured across both parts"
    np.testing.assert_array_equal(found.masks["core"], ANSWER.masks["core"])
    rejected = reviewed(
        ANSWER, joined=[[one.peak, other.peak]], lesions=[{"voxel": one.peak, "decision": "reject"}]
    ).result
    assert [each.voxels for each in rejected.lesions] == [last.voxels]


def test_groups_that_share_a_lesion_are_one_lesion():
    [joined] = reviewed(ANSWER, joined=[PEAKS[:2], PEAKS[1:]]).result.lesions
    assert joined.voxels == sum(lesion.voxels for lesion in ANSWER.result.lesions)


def test_a_joined_lesion_is_not_listed_in_a_slice_between_its_parts():
    answer = model_answer([((0, 6, 6), 1.4), ((5, 18, 20), 1.4)])
    result = reviewed(answer, joined=[[each.peak for each in answer.result.lesions]]).result
    [joined] = result.lesions
    assert (joined.box.first[0], joined.box.stop[0]) == (0, 6)
    slices = reviewed(answer, joined=[[each.peak for each in answer.result.lesions]]).result.slices
    assert [each.lesions for each in slices] == [
        [1] if answer.masks["core"][each.index].any() else [] for each in slices
    ]
    assert [] in [each.lesions for each in slices]


def test_a_decision_lasts_when_a_threshold_changes_number_and_size():
    decisions = [{"voxel": PEAKS[2], "label": "smallest"}, {"voxel": PEAKS[0], "decision": "reject"}]
    for threshold in (0.2, 0.5, 0.8):
        found = reviewed(ANSWER, thresholds={"core": threshold}, lesions=decisions).result
        assert [each.label for each in found.lesions] == [None, "smallest"]
        assert not found.rejected[0].label


def test_a_decision_without_its_lesion_has_no_effect_and_is_reported():
    wiped = {"erased": runs_of(ANSWER.masks["core"])}
    found = reviewed(ANSWER, corrections={"core": wiped}, lesions=[{"voxel": PEAKS[0], "decision": "reject"}])
    assert any("1 of a reader's decisions" in warning for warning in found.result.warnings)
    np.testing.assert_array_equal(found.masks["whole"], ANSWER.masks["whole"])


def test_a_lesion_that_grew_together_with_a_kept_one_is_kept_with_a_warning():
    bridge = np.zeros(SHAPE, bool)
    (_, row, column), (_, last_row, last_column) = THREE[0][0], THREE[1][0]
    bridge[1:3, row : last_row + 1, column], bridge[1:3, last_row, column : last_column + 1] = True, True
    centres = [centre for centre, _ in THREE[:2]]
    found = reviewed(
        ANSWER,
        corrections={"core": {"added": runs_of(bridge)}},
        lesions=[{"voxel": centres[0], "decision": "reject"}, {"voxel": centres[1]}],
    )
    assert found.masks["core"][centres[0]]
    assert found.result.warnings[-1] == "Lesion 1 was rejected in one place and kept in another; it is kept."


def test_a_reader_chooses_targets_and_is_warned_of_small_ones():
    answer = model_answer(spacing_mm=(3.0, 1.0, 1.0))
    assert [lesion.target for lesion in answer.result.lesions] == [False, False, False]
    decisions = [{"voxel": PEAKS[0], "target": False}, {"voxel": PEAKS[2], "target": True}]
    found = reviewed(answer, lesions=decisions).result
    assert [lesion.target for lesion in found.lesions][0::2] == [False, True]
    chosen = [lesion.long_diameter_mm for lesion in found.lesions if lesion.target]
    assert found.target_diameter_sum_mm == pytest.approx(sum(chosen))
    assert "Lesion 3 is a target by the reader's choice" in found.warnings[-1]


def test_surroundings_follow_the_reviewed_lesions():
    found = reviewed(ANSWER, lesions=[{"voxel": PEAKS[0], "decision": "reject"}]).result
    around = found.structures["whole"].voxels - found.structures["core"].voxels
    assert sum(lesion.surrounding_voxels for lesion in found.lesions) == around


@pytest.mark.parametrize(
    "fields",
    [
        {"corrections": {"core": {"added": [VOXELS - 1, 2]}}},
        {"corrections": {"whole": {"erased": [VOXELS, 1]}}},
        {"lesions": [{"voxel": (0, 0, SHAPE[2])}]},
        {"joined": [[(SHAPE[0], 0, 0), (0, 0, 0)]]},
    ],
)
def test_a_place_outside_of_the_volume_is_refused(fields):
    with pytest.raises(InvalidParameter, match="outside of the volume"):
        reviewed(ANSWER, **fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"thresholds": {"core": 0.4}},
        {"corrections": {"core": {"added": [0, 1]}}},
        {"lesions": [{"voxel": (0, 0, 0), "target": True}]},
    ],
)
def test_without_a_known_core_there_is_none_to_review(fields):
    with pytest.raises(InvalidParameter, match="core of this study is not known"):
        reviewed(model_answer(with_core=False), **fields)


def test_without_a_known_core_the_abnormalities_are_reviewed():
    answer = model_answer(with_core=False)
    first, *others = answer.result.lesions
    found = reviewed(answer, lesions=[{"voxel": first.peak, "decision": "reject"}])
    assert [each.voxels for each in found.result.lesions] == [each.voxels for each in others]
    assert not any(lesion.target for lesion in found.result.lesions)
    assert set(build_review_artefacts(found)) == {"mask.nii.gz", "lesions.nii.gz"}


def test_the_files_hold_the_reviewed_masks_on_the_grid_of_the_study():
    _, _, _, artefacts = answered(ball_probability(THREE), ball_probability(THREE))
    found = reviewed(ANSWER, lesions=[{"voxel": PEAKS[1], "decision": "reject"}])
    files = build_review_artefacts(found)
    np.testing.assert_array_equal(read_mask(files["mask.nii.gz"]), found.masks["core"])
    np.testing.assert_array_equal(read_mask(files["whole.nii.gz"]), found.masks["whole"])
    numbers = np.asarray(nifti(files["lesions.nii.gz"]).dataobj).T
    np.testing.assert_array_equal(numbers == 2, lesion_mask(found, 2))
    own = nifti(artefacts["mask.nii.gz"])
    for name in files:
        np.testing.assert_array_equal(nifti(files[name]).affine, own.affine)
        assert nifti(files[name]).header["sform_code"] == own.header["sform_code"]


def test_an_unchanged_mask_is_written_byte_by_byte_as_the_worker_wrote_it():
    core, whole = ball_probability(THREE), ball_probability([(centre, radius + 2) for centre, radius in THREE])
    for spacing_mm in ((3.0, 1.0, 1.5), None):
        artefacts = answered(core, whole, spacing_mm)[-1]
        answer = model_answer(spacing_mm=spacing_mm)
        files = build_review_artefacts(reviewed(answer))
        assert files == {name: artefacts[name] for name in files}


def test_a_result_survives_the_store():
    result = reviewed(ANSWER, lesions=[{"voxel": PEAKS[1], "decision": "reject"}]).result
    assert Result.model_validate_json(result.model_dump_json()) == result


def test_a_damaged_map_is_a_damaged_result():
    _, _, result, artefacts = answered(ball_probability(THREE), ball_probability(THREE))
    damaged = artefacts | {"probability.nii.gz": artefacts["probability.nii.gz"][:-30]}
    with pytest.raises(ProcessingFailed):
        read_model_answer(result, Review(), lambda name: io.BytesIO(damaged[name]))


def nifti(data):
    return nibabel.Nifti1Image.from_bytes(gzip.decompress(data))
