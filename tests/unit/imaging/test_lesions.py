import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage

from metseg.imaging import select_components
from metseg.imaging.lesions import measure, measure_slices, sum_target_diameters

MASKS = arrays.arrays(bool, arrays.array_shapes(min_dims=3, max_dims=3, max_side=9))
SPACINGS = st.tuples(*[st.floats(0.3, 8)] * 3)


@pytest.fixture
def ball():
    """A ball in the smallest volume that contains it."""

    def draw(radius_mm, spacing_mm):
        sides = [2 * math.ceil(radius_mm / side) + 5 for side in spacing_mm]
        axes = [(np.arange(count) - count // 2) * side for count, side in zip(sides, spacing_mm, strict=True)]
        return sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij")) <= radius_mm**2

    return draw


def drawn(*rows):
    """A mask of one slice, drawn with `#`."""
    return np.array([[[sign == "#" for sign in row] for row in rows]])


def sure(mask):
    return mask.astype(np.float32)


def figures(lesion):
    """The measurements that must not change when the lesion is mirrored or rotated."""
    values = (
        lesion.voxels,
        lesion.volume_mm3,
        lesion.largest_area_px,
        lesion.largest_area_mm2,
        lesion.long_diameter_px,
        lesion.long_diameter_mm,
        lesion.perpendicular_diameter_px,
        lesion.perpendicular_diameter_mm,
        lesion.mean_probability,
        lesion.lowest_probability,
    )
    return tuple(round(figure, 6) for figure in values)


def test_a_lesion_across_slices_counts_once(ball):
    mask = ball(radius_mm=6, spacing_mm=(3, 1, 1))
    [lesion] = measure(mask, (3, 1, 1), sure(mask))
    assert lesion.volume_mm3 == pytest.approx(4 / 3 * math.pi * 6**3, rel=0.1)
    assert lesion.largest_slice == mask.shape[0] // 2
    assert lesion.largest_area_mm2 == pytest.approx(math.pi * 6**2, rel=0.05)


@pytest.mark.parametrize("spacing_mm", [(1, 1, 1), (5, 0.9, 0.9), (4, 0.5, 1.5), (4, 1.5, 0.5)])
def test_a_balls_diameter_does_not_depend_on_the_spacing(ball, spacing_mm):
    mask = ball(radius_mm=12, spacing_mm=spacing_mm)
    [lesion] = measure(mask, spacing_mm, sure(mask))
    coarsest = max(spacing_mm[1:])
    assert lesion.long_diameter_mm == pytest.approx(24, abs=coarsest)
    assert lesion.perpendicular_diameter_mm == pytest.approx(24, abs=coarsest)
    assert lesion.volume_mm3 == pytest.approx(4 / 3 * math.pi * 12**3, rel=0.05)
    assert lesion.centroid == pytest.approx([side // 2 for side in mask.shape])


def test_an_empty_mask_has_no_lesion():
    mask = np.zeros((2, 20, 20), bool)
    assert measure(mask, (1, 1, 1), sure(mask)) == []


def test_a_pixel_is_one_pixel_across():
    mask = drawn("...", ".#.", "...")
    [lesion] = measure(mask, (5, 2, 3), sure(mask))
    assert (lesion.long_diameter_px, lesion.perpendicular_diameter_px) == (1, 1)
    assert (lesion.long_diameter_mm, lesion.perpendicular_diameter_mm) == (3, 2)
    assert (lesion.voxels, lesion.volume_mm3, lesion.largest_area_px, lesion.largest_area_mm2) == (1, 30, 1, 6)
    assert (lesion.box.first, lesion.box.stop, lesion.centroid) == ((0, 1, 1), (1, 2, 2), (0, 1, 1))


def test_a_row_of_pixels_is_as_long_as_their_number():
    mask = drawn("......", ".####.")
    [lesion] = measure(mask, (1, 2, 0.5), sure(mask))
    assert (lesion.long_diameter_px, lesion.perpendicular_diameter_px) == (4, 1)
    # in millimetres the row is 2 mm long and 2 mm wide; the longest line is slightly oblique
    assert lesion.long_diameter_mm == pytest.approx(math.hypot(2, 1.5))


def test_the_diameters_of_a_cross_are_its_bars():
    mask = drawn(
        "...#...",
        "...#...",
        "#######",
        "...#...",
    )
    [lesion] = measure(mask, (1, 1, 1), sure(mask))
    assert (lesion.long_diameter_px, lesion.long_diameter_mm) == (7, 7)
    assert lesion.perpendicular_diameter_px == 4


def test_diameters_lie_in_one_slice():
    mask = np.zeros((2, 12, 12), bool)
    mask[0, 5, 1:11] = True  # 10 long, 1 wide
    mask[1, 3:8, 5:9] = True  # shorter, but wider
    [lesion] = measure(mask, (1, 1, 1), sure(mask))
    assert (lesion.long_diameter_px, lesion.perpendicular_diameter_px) == (10, 1)
    assert lesion.largest_slice == 1


def test_the_slice_with_the_longest_diameter_gives_both_diameters():
    mask = np.zeros((2, 12, 12), bool)
    mask[0, 3:8, 5:9] = True
    mask[1, 5, 1:11] = True
    [lesion] = measure(mask, (1, 1, 1), sure(mask))
    assert (lesion.long_diameter_px, lesion.perpendicular_diameter_px) == (10, 1)


def test_where_the_diameters_of_a_cross_run_is_known():
    mask = np.pad(drawn("...#...", "...#...", "#######", "...#..."), ((2, 0), (0, 0), (3, 0)))
    diameters = measure(mask, (1, 1, 1), sure(mask))[0].diameters
    assert diameters.longest_slice == 2
    assert sorted(diameters.long) == [(2, 2.5), (2, 9.5)]
    assert sorted(diameters.perpendicular) == [(-0.5, 6), (3.5, 6)]


@given(MASKS, SPACINGS)
def test_diameters_are_as_long_as_where_they_run_and_at_right_angles(mask, spacing_mm):
    for lesion in measure(mask, spacing_mm, sure(mask)):
        in_mm = [np.array(line) * spacing_mm[1:] for line in (lesion.diameters.long, lesion.diameters.perpendicular)]
        long, perpendicular = (line[1] - line[0] for line in in_mm)
        assert np.hypot(*long) == pytest.approx(lesion.long_diameter_mm)
        assert np.hypot(*perpendicular) == pytest.approx(lesion.perpendicular_diameter_mm)
        assert long @ perpendicular == pytest.approx(0, abs=1e-6)
        assert lesion.box.first[0] <= lesion.diameters.longest_slice < lesion.box.stop[0]


def test_voxels_that_touch_at_a_corner_are_one_lesion():
    mask = np.zeros((2, 4, 4), bool)
    mask[0, 1, 1] = mask[1, 2, 2] = True
    assert len(measure(mask, None, sure(mask))) == 1


def test_an_empty_slice_separates_lesions():
    mask = np.zeros((3, 4, 4), bool)
    mask[0, 1, 1] = mask[2, 1, 1] = True
    first, second = measure(mask, None, sure(mask))
    assert (first.box.first[0], second.box.first[0]) == (0, 2)


def test_the_largest_lesion_is_number_one_and_ties_keep_their_order():
    mask = drawn("#.##.#.###")
    found = measure(mask, None, sure(mask))
    assert [lesion.number for lesion in found] == [1, 2, 3, 4]
    assert [lesion.box.first[2] for lesion in found] == [7, 2, 0, 5]


def test_without_spacing_there_are_no_millimetres():
    mask = drawn("##", "##")
    [lesion] = measure(mask, None, sure(mask))
    assert lesion.voxels == lesion.largest_area_px == 4
    assert lesion.long_diameter_px == pytest.approx(math.sqrt(5))
    assert [value for name, value in lesion if name.endswith(("_mm", "_mm2", "_mm3"))] == [None] * 6
    assert measure_slices(mask, [lesion], ["a"], None, sure(mask))[0].area_mm2 is None


def test_a_centroid_lies_where_the_affine_puts_it():
    mask = np.zeros((4, 8, 8), bool)
    mask[1:3, 2:5, 5] = True
    affine = np.array([[-2.0, 0, 0, 10], [0, 3, 0, -20], [0, 0, 5, 30], [0, 0, 0, 1]])
    [lesion] = measure(mask, (5, 3, 2), sure(mask), affine)
    assert lesion.centroid == (1.5, 3, 5)
    assert lesion.centroid_mm == (10 - 2 * 5, -20 + 3 * 3, 30 + 5 * 1.5)
    assert measure(mask, (5, 3, 2), sure(mask))[0].centroid_mm is None


def bars(*sizes):
    """Boxes of (slices, rows, columns) in a row, a column apart."""
    mask = np.zeros((6, 40, sum(columns + 1 for _, _, columns in sizes)), bool)
    left = 0
    for deep, rows, columns in sizes:
        mask[:deep, :rows, left : left + columns] = True
        left += columns + 1
    return mask


@pytest.mark.parametrize(
    ("size", "spacing_mm", "target"),
    [
        ((2, 6, 10), (1, 1, 1), True),
        ((2, 3, 8), (1, 1, 1), False),  # shorter than 10 mm
        ((2, 4, 12), (1, 1, 1), False),  # narrower than 5 mm
        ((1, 6, 10), (1, 1, 1), False),  # seen in one slice
        ((2, 6, 10), (5, 1, 1), True),
        ((2, 6, 10), (6, 1, 1), False),  # slices this thick require 12 mm
        ((2, 6, 12), (6, 1, 1), True),
        ((2, 6, 10), (1, 0.5, 0.5), False),
    ],
)
def test_a_target_is_measurable_as_defined_by_rano_bm(size, spacing_mm, target):
    mask = bars(size)
    [lesion] = measure(mask, spacing_mm, sure(mask))
    assert lesion.target is target
    length = lesion.long_diameter_mm if target else None
    assert sum_target_diameters([lesion])[1] == length


def test_the_five_longest_are_targets_and_their_diameters_are_summed():
    mask = bars(*[(2, 6, length) for length in (10, 11, 12, 13, 14, 15)], (3, 20, 5))
    found = measure(mask, (2, 1, 1), sure(mask))
    targets = sorted((lesion for lesion in found if lesion.target), key=lambda lesion: lesion.long_diameter_mm)
    assert [lesion.box.stop[2] - lesion.box.first[2] for lesion in targets] == [12, 13, 14, 15, 5]
    assert sum_target_diameters(found) == pytest.approx([sum(lesion.long_diameter_mm for lesion in targets)] * 2)


def test_without_spacing_the_longest_are_targets_and_summed_in_pixels():
    mask = bars((2, 2, 4), (1, 9, 9))
    found = measure(mask, None, sure(mask))
    assert [lesion.target for lesion in found] == [False, True]
    assert sum_target_diameters(found) == (found[1].long_diameter_px, None)
    assert sum_target_diameters([]) == (None, None)


def test_a_single_slice_is_judged_by_itself():
    mask = bars((1, 6, 10))[:1]
    assert measure(mask, (5, 1, 1), sure(mask))[0].target


def test_a_lesions_probability_is_that_of_its_own_voxels():
    mask = drawn("##.")
    probability = np.array([[[0.5, 1.0, 0.25]]], np.float32)
    [lesion] = measure(mask, None, probability)
    assert (lesion.mean_probability, lesion.lowest_probability) == (0.75, 0.5)


def test_every_slice_has_measurements():
    mask = np.zeros((4, 5, 9), bool)
    mask[1:3, 1:3, 1:3] = True
    mask[2, 4, 6:9] = True
    probability = mask * np.float32(0.75)
    probability[0, 0, 0] = 0.25
    found = measure(mask, (4, 0.5, 2), probability)
    slices = measure_slices(mask, found, ["a", "b", "c", "d"], (4, 0.5, 2), probability)
    assert [(one.index, one.name) for one in slices] == [(0, "a"), (1, "b"), (2, "c"), (3, "d")]
    assert [one.lesions for one in slices] == [[], [1], [1, 2], []]
    assert [one.area_px for one in slices] == [0, 4, 7, 0]
    assert [one.area_mm2 for one in slices] == [0, 4, 7, 0]
    assert [one.highest_probability for one in slices] == [0.25, 0.75, 0.75, 0]


@pytest.mark.parametrize(
    ("mask", "probability"),
    [
        (np.zeros((1, 4, 4), bool), np.zeros((1, 4, 5), np.float32)),
        (np.zeros((4, 4), bool), np.zeros((4, 4), np.float32)),
        (np.zeros((1, 4, 4), np.uint8), np.zeros((1, 4, 4), np.float32)),
    ],
)
def test_arrays_of_different_shapes_raise_value_error(mask, probability):
    with pytest.raises(ValueError, match="share one"):
        measure(mask, None, probability)
    with pytest.raises(ValueError, match="share one"):
        measure_slices(mask, [], [], None, probability)


def test_a_wrong_number_of_names_raises_value_error():
    mask = np.zeros((2, 4, 4), bool)
    with pytest.raises(ValueError, match="argument"):
        measure_slices(mask, [], ["a"], None, sure(mask))


def test_a_long_series_with_few_lesions_is_measured_quickly():
    mask = np.zeros((1000, 256, 256), bool)
    mask[5:10, 20:60, 20:40] = mask[990:998, 100:180, 100:220] = True
    probability = sure(mask)
    began = time.process_time()
    assert len(measure(mask, (1, 1, 1), probability)) == 2
    assert time.process_time() - began < 0.5


@given(MASKS, SPACINGS)
def test_lesions_are_the_connected_components_of_the_mask(mask, spacing_mm):
    found = measure(mask, spacing_mm, sure(mask))
    assert len(found) == ndimage.label(mask, np.ones((3, 3, 3)))[1]
    assert sum(lesion.voxels for lesion in found) == mask.sum()
    assert sum(lesion.volume_mm3 for lesion in found) == pytest.approx(mask.sum() * math.prod(spacing_mm))
    assert [lesion.voxels for lesion in found] == sorted((lesion.voxels for lesion in found), reverse=True)


@given(MASKS, SPACINGS)
def test_slice_areas_add_up_to_the_mask_and_name_their_lesions(mask, spacing_mm):
    found = measure(mask, spacing_mm, sure(mask))
    slices = measure_slices(mask, found, [str(index) for index in range(len(mask))], spacing_mm, sure(mask))
    assert [one.area_px for one in slices] == mask.sum(axis=(1, 2)).tolist()
    assert [bool(one.lesions) for one in slices] == mask.any(axis=(1, 2)).tolist()
    spans = [lesion.box.stop[0] - lesion.box.first[0] for lesion in found]
    assert sum(len(one.lesions) for one in slices) == sum(spans)


@given(MASKS, SPACINGS)
def test_bounding_boxes_are_tight(mask, spacing_mm):
    for lesion in measure(mask, spacing_mm, sure(mask)):
        region = tuple(slice(*ends) for ends in zip(lesion.box.first, lesion.box.stop, strict=True))
        assert mask[region].sum() >= lesion.voxels
        assert all(
            first <= at < stop
            for first, at, stop in zip(lesion.box.first, lesion.centroid, lesion.box.stop, strict=True)
        )
        assert lesion.box.first[0] <= lesion.largest_slice < lesion.box.stop[0]
        longest_side = max(stop - first for first, stop in zip(lesion.box.first[1:], lesion.box.stop[1:], strict=True))
        diagonal = math.hypot(*(stop - first for first, stop in zip(lesion.box.first, lesion.box.stop, strict=True)))
        assert lesion.long_diameter_px >= 1
        assert 0.5 <= lesion.perpendicular_diameter_px <= lesion.long_diameter_px * (1 + 1e-9)
        assert lesion.long_diameter_px <= diagonal
        assert lesion.long_diameter_px >= longest_side or lesion.box.stop[0] - lesion.box.first[0] > 1


@given(MASKS, st.tuples(*[st.booleans()] * 3), st.floats(0.3, 8), st.floats(0.3, 8))
def test_a_mirrored_or_rotated_lesion_keeps_its_measurements(mask, mirrored, between_mm, within_mm):
    spacing_mm = (between_mm, within_mm, within_mm)
    turned = np.flip(mask, [axis for axis in range(3) if mirrored[axis]]).transpose(0, 2, 1)
    before = sorted(figures(lesion) for lesion in measure(mask, spacing_mm, sure(mask)))
    after = sorted(figures(lesion) for lesion in measure(turned, spacing_mm, sure(turned)))
    assert len(before) == len(after)
    for one, other in zip(before, after, strict=True):
        assert one == pytest.approx(other)


@given(MASKS, st.floats(0.3, 8), st.floats(0.3, 8))
def test_transposing_rows_and_columns_keeps_measurements(mask, row_mm, column_mm):
    before = measure(mask, (1, row_mm, column_mm), sure(mask))
    after = measure(mask.transpose(0, 2, 1), (1, column_mm, row_mm), sure(mask.transpose(0, 2, 1)))
    one, other = (sorted(lesion.long_diameter_mm for lesion in found) for found in (before, after))
    assert one == pytest.approx(other)


@given(st.integers(4, 40))
def test_a_discs_diameter_is_two_radii(radius):
    rows, columns = np.ogrid[-radius - 1 : radius + 2, -radius - 1 : radius + 2]
    mask = (rows**2 + columns**2 <= radius**2)[None]
    [lesion] = measure(mask, None, sure(mask))
    assert 2 * radius <= lesion.perpendicular_diameter_px <= lesion.long_diameter_px * (1 + 1e-9) <= 2 * radius + 1.5


@given(MASKS, st.floats(0, 12))
def test_components_below_a_size_are_removed_and_others_are_unchanged(mask, voxels):
    sizes = [lesion.voxels for lesion in measure(mask, None, sure(mask)) if lesion.voxels >= voxels]
    kept = select_components(2 * mask.astype(np.uint8), voxels)
    assert [lesion.voxels for lesion in measure(kept, None, sure(kept))] == sizes
    assert not (kept & ~mask).any()


def test_the_peak_is_inside_the_lesion_where_its_probability_is_highest():
    mask, probability = np.zeros((3, 8, 9), bool), np.full((3, 8, 9), 0.9, np.float32)
    mask[1, 2:6, 3:7], probability[1, 2:6, 3:7] = True, 0.6
    probability[1, 4, 5] = 0.7
    assert measure(mask, None, probability)[0].peak == (1, 4, 5)
