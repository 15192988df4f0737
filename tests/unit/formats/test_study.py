import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.pictures import LIMITS, noise, pillow, png, tiff, upload, zipped

from metseg.errors import MixedSizes, UnusableImage
from metseg.formats import inspect_upload, natural_key, read_volume
from metseg.formats.names import exclude_masks, file_stem, page_stems, unique_names
from metseg.imaging import SEQUENCE_NAMES


def test_several_files_are_one_volume_in_natural_order():
    stored = {name: noise(20, 24, seed=seed) for seed, name in enumerate(("s10", "s9", "s1"))}
    volume = read_volume([upload(png(grey), f"{name}.png") for name, grey in stored.items()], LIMITS)
    assert volume.names == ("s1", "s9", "s10")
    np.testing.assert_array_equal(volume.pixels[..., 1], [stored["s1"], stored["s9"], stored["s10"]])


def test_slices_of_different_formats_form_one_study():
    sent = [upload(png(noise(20, 24, 3)), "1.png"), upload(pillow(noise(20, 24), "JPEG"), "2.jpg")]
    assert inspect_upload(sent, LIMITS)[:4] == ("jpeg+png", 2, 20, 24)


def test_the_content_decides_the_format_not_the_name():
    assert read_volume([upload(tiff(noise(20, 24)), "slice.jpg")], LIMITS).source == "tiff"


def test_equal_names_are_numbered():
    volume = read_volume([upload(png(noise(20, 24, seed=seed)), "a.png") for seed in range(3)], LIMITS)
    assert volume.names == ("a", "a_2", "a_3")


def test_a_grey_study_is_copied_to_all_channels_with_a_warning():
    volume = read_volume([upload(png())], LIMITS)
    assert np.ptp(volume.pixels, axis=-1).max() == 0
    assert ["grey" in warning for warning in volume.warnings] == [True]


def test_a_grey_study_saved_in_colour_is_still_grey():
    volume = read_volume([upload(png(np.repeat(noise(20, 24, 1), 3, axis=-1)))], LIMITS)
    assert ["grey" in warning for warning in volume.warnings] == [True]


def test_a_study_with_all_channels_needs_no_warning():
    assert read_volume([upload(png(noise(20, 24, 3)))], LIMITS).warnings == ()


def test_two_equal_channels_are_not_a_grey_study():
    colours = noise(20, 24, 3)
    colours[..., 1] = colours[..., 0]
    assert read_volume([upload(png(colours))], LIMITS).warnings == ()


def test_masks_among_several_files_are_left_out():
    sent = [upload(png(), "p_1.png"), upload(png(), "p_2.png"), upload(png(noise(9, 9)), "p_1_mask.png")]
    volume = read_volume(sent, LIMITS)
    assert volume.names == ("p_1", "p_2")
    assert any("left out: 1" in warning for warning in volume.warnings)


def test_each_role_is_a_channel():
    stored = {role: noise(3, 20, 24, seed=seed) for seed, role in enumerate(("pre", "flair", "post"))}
    sent = [upload(tiff(stored["pre"]), "x.tif", "pre"), upload(zipped({"a.tif": tiff(stored["post"])}), "z", "post")]
    sent += [upload(png(grey), f"f{number}.png", "flair") for number, grey in enumerate(stored["flair"])]
    volume = read_volume(sent, LIMITS)
    np.testing.assert_array_equal(volume.pixels, np.stack(list(stored.values()), axis=-1))
    assert volume.names == ("f0", "f1", "f2")
    assert volume.warnings == ()
    assert inspect_upload(sent, LIMITS)[:4] == ("png+tiff+zip", 3, 20, 24)


@pytest.mark.parametrize(
    ("sent", "channels"),
    [(("flair",), "fff"), (("post",), "ppp"), (("pre",), "rrr"), (("pre", "post"), "rpp"), (("flair", "post"), "ffp")],
)
def test_a_missing_role_is_filled_with_a_warning(sent, channels):
    stored = {role: noise(20, 24, seed=seed) for seed, role in enumerate(sent)}
    volume = read_volume([upload(png(grey), f"{role}.png", role) for role, grey in stored.items()], LIMITS)
    letters = {"f": "flair", "p": "post", "r": "pre"}
    for channel, letter in enumerate(channels):
        np.testing.assert_array_equal(volume.pixels[0, ..., channel], stored[letters[letter]])
    assert len(volume.warnings) == 3 - len(sent)
    missing = [name for role, name in SEQUENCE_NAMES.items() if role not in sent]
    for name, warning in zip(missing, volume.warnings, strict=True):
        assert warning == f"No series is known to be {name}; the study is read without it."


def test_roles_of_different_depths_keep_their_values():
    shallow, deep, real = noise(20, 24), noise(20, 24, dtype="uint16"), noise(20, 24, dtype="float32")
    volume = read_volume([upload(png(shallow), role="pre"), upload(png(deep), role="flair")], LIMITS)
    assert volume.pixels.dtype == np.uint16
    volume = read_volume(
        [upload(png(shallow), role="pre"), upload(png(deep), role="flair"), upload(tiff(real), role="post")], LIMITS
    )
    assert volume.pixels.dtype == np.float32
    np.testing.assert_array_equal(volume.pixels[0], np.stack([shallow, deep, real], axis=-1))


def test_a_grey_role_saved_in_colour_is_read_unchanged():
    grey = noise(20, 24)
    volume = read_volume(
        [upload(png(np.stack([grey] * 3, axis=-1)), role=role) for role in ("pre", "flair", "post")], LIMITS
    )
    np.testing.assert_array_equal(volume.pixels[0, ..., 0], grey)
    assert volume.warnings == ()


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_coloured_role_is_averaged_with_a_warning(dtype):
    colours = noise(20, 24, 3, dtype=dtype)
    volume = read_volume([upload(tiff(colours), role=role) for role in ("pre", "flair", "post")], LIMITS)
    np.testing.assert_allclose(volume.pixels[0, ..., 0], colours.mean(axis=-1), atol=0.51 if dtype == "uint8" else 1e-3)
    assert ["is in colour" in warning for warning in volume.warnings] == [True] * 3


@pytest.mark.parametrize("other", [noise(2, 20, 24), noise(3, 20, 25)], ids=["length", "size"])
def test_roles_of_different_shapes_are_refused(other):
    with pytest.raises(MixedSizes):
        inspect_upload([upload(tiff(noise(3, 20, 24)), role="flair"), upload(tiff(other), role="post")], LIMITS)


def test_streams_are_read_from_their_start():
    sent = upload(png())
    sent.stream.read()
    assert inspect_upload([sent], LIMITS).slices == 1
    assert sent.stream.tell() == 0
    assert read_volume([sent], LIMITS).shape == (1, 20, 24)


@given(st.lists(st.integers(0, 10**30), unique=True))
def test_numbers_in_names_order_by_value(numbers):
    names = [f"TCGA_X_{number}.tif" for number in numbers]
    assert sorted(names, key=natural_key) == [f"TCGA_X_{number}.tif" for number in sorted(numbers)]


@given(st.lists(st.text()).flatmap(lambda names: st.tuples(st.just(names), st.permutations(names))))
def test_any_names_have_one_order(both):
    names, shuffled = both
    assert sorted(names, key=natural_key) == sorted(shuffled, key=natural_key)


def test_a_number_of_thousands_of_digits_can_be_ordered():
    assert natural_key("1" * 60000) > natural_key("9" * 50000)


@given(st.lists(st.sampled_from(["a", "a_2", "a_3", "b", "a_2_2"])))
def test_stems_become_unique_in_their_order(stems):
    names = unique_names(stems)
    assert len(set(names)) == len(stems)
    assert all(name.startswith(stem) for name, stem in zip(names, stems, strict=True))


@given(st.text())
def test_a_stem_is_always_a_valid_file_name(name):
    assert file_stem(name)
    assert "/" not in file_stem(name)
    assert file_stem(name).isprintable()
    assert len(file_stem(name)) <= 200


@pytest.mark.parametrize(
    ("name", "expected"),
    [("p/q/s_1.tif", "s_1"), ("C:\\p\\s.1.png", "s.1"), ("", "slice"), ("x", "x"), ("a\nb.png", "a_b")],
)
def test_a_stem_has_neither_folder_nor_suffix(name, expected):
    assert file_stem(name) == expected


def test_pages_are_numbered_with_equal_width():
    assert list(page_stems("s.tif", 2)) == ["s_001", "s_002"]
    assert next(page_stems("s.tif", 1000)) == "s_0001"


def test_a_mask_belongs_to_the_image_in_its_folder():
    assert exclude_masks(["a/x.png", "b/x_mask.png", "a/X_Mask.tif", "_mask.png"]) == [0, 1, 3]


def stated(*sent, sequence="post"):
    return read_volume(list(sent), LIMITS, sequence=sequence)


def test_a_grey_study_is_the_sequence_that_its_submitter_says():
    for role, present in (("pre", (1, 0, 0)), ("flair", (0, 1, 0)), ("post", (0, 0, 1))):
        volume = stated(upload(png(), "scan.png"), sequence=role)
        assert volume.present == present
        assert {name: one.by for name, one in volume.identified.items()} == {role: "stated"}


def test_a_grey_study_of_which_nothing_is_known_is_not_identified():
    volume = stated(upload(png(), "scan.png"), sequence="auto")
    assert volume.identified == {} and volume.present == (False, True, False)


@pytest.mark.parametrize(
    ("name", "role"),
    [("p1_flair_07.png", "flair"), ("p1_t1c_07.png", "post"), ("T1N.png", "pre"), ("p1_t1_07.png", None)],
)
def test_the_names_of_slices_tell_their_sequence_but_a_plain_t1_does_not(name, role):
    expected = {} if role is None else {role: "name"}
    assert {role: one.by for role, one in stated(upload(png(), name), sequence="auto").identified.items()} == expected


def test_the_submitter_overrules_the_name_even_of_a_sequence_that_is_not_used():
    assert stated(upload(png(), "flair.png")).present == (False, False, True)
    assert stated(upload(png(), "p1_T2_07.png")).present == (False, False, True)
    with pytest.raises(UnusableImage, match="T2"):
        stated(upload(png(), "p1_T2_07.png"), sequence="auto")
    with pytest.raises(UnusableImage, match="T2"):
        inspect_upload([upload(png(), "p1_T2_07.png")], LIMITS)
    inspect_upload([upload(png(), "p1_T2_07.png")], LIMITS, "post")


def test_a_study_of_several_sequences_does_not_become_one_of_them():
    roles = [upload(png(noise(20, 24, seed=seed)), f"{role}.png", role) for seed, role in enumerate(("pre", "flair"))]
    for sent in ([upload(png(noise(20, 24, 3)))], roles):
        volume = stated(*sent)
        assert len(volume.identified) > 1
        assert any("was not used" in warning for warning in volume.warnings)
