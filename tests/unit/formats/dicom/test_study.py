"""DICOM series to a volume, and the segmentation back onto their frames."""

import io
import tracemalloc

import highdicom
import numpy as np
import pydicom
import pydicom.data
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from tests.dicoms import (
    FINDER,
    LIMITS,
    ORDERS,
    SLICES,
    answered,
    edited,
    figure,
    figure_files,
    in_order,
    points,
    points_of_segmentation,
    segmented,
    uploads,
    volume_of,
    warned,
    zipped,
)

from metseg.errors import (
    AmbiguousSeries,
    BadInput,
    ImageTooLarge,
    TooManyFiles,
)
from metseg.formats import inspect_upload, read_volume
from metseg.imaging import from_canonical, label_lesions, to_canonical
from metseg.phantom.dicom import SERIES_PARAMETERS, SeriesParameters, enhanced_file, series_files
from metseg.settings import Limits

AXIAL = ((0, 1, 2), (True, True, False))


def test_a_study_of_three_series_is_read_as_scanned(phantom, files):
    volume = volume_of(files)
    assert np.array_equal(volume.pixels, phantom.volume.pixels.astype(np.uint16) * 16)
    np.testing.assert_allclose(volume.affine, phantom.volume.affine, atol=1e-6)
    assert volume.spacing_mm == pytest.approx(phantom.volume.spacing_mm)
    assert set(volume.sequences) == {"pre", "flair", "post"}
    assert volume.warnings == ()


@pytest.mark.parametrize("roles", [("flair",), ("pre", "flair", "post")])
def test_no_second_copy_of_the_pixels_is_made(roles):
    """Frames are decoded to their place in the volume, whatever the order of its axes."""
    ramp = np.random.default_rng(1).integers(0, 4000, (40, 192, 192), dtype=np.uint16)
    affine = np.diag([-1.0, -1.0, 3.0, 1.0])
    files = {f"{role}-{name}": content for role in roles for name, content in one_series(ramp, affine, role).items()}
    volume_of(files)  # imports and caches
    sent = uploads({"study.zip": zipped(files)})
    tracemalloc.start()
    volume = read_volume(sent, LIMITS)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    headers = 10_000 * len(files)
    assert peak < 1.3 * len(roles) * ramp.nbytes + headers
    assert all(np.array_equal(volume.pixels[..., channel], ramp) for channel in range(3))


def one_series(pixels, affine, role):
    return series_files(pixels, affine, SERIES_PARAMETERS[role])


def test_headers_give_the_size_of_a_study(files):
    assert inspect_upload(uploads(files), LIMITS)[:4] == ("dicom", SLICES, 64, 64)


def test_a_zip_of_a_study_equals_the_study(files):
    packed = {f"DICOM/S{index % 3}/I{index}": content for index, content in enumerate(files.values())}
    packed |= {"README.txt": b"read me", "DICOMDIR": b"\0" * 128 + b"DICM"}
    volume = volume_of({"study.zip": zipped(packed)})
    assert np.array_equal(volume.pixels, volume_of(files).pixels)
    assert warned(volume, "not DICOM were left out: 1")
    assert warned(volume, "not MR images were left out")


def test_no_message_about_a_study_contains_an_identifier(files):
    volume = volume_of(files)
    text = " ".join([*volume.sequences.values(), *volume.warnings]).lower()
    assert not any(word in text for word in ("phantom", "axial", "2.25.", "gadobutrol"))


@pytest.mark.parametrize(("axes", "flips"), ORDERS)
def test_each_axis_order_is_read_upright_and_segmented_in_place(axes, flips):
    ramp, mask = figure()
    volume = volume_of(figure_files(axes, flips))
    turned, affine = in_order(ramp, axes, flips)
    indices = np.argwhere(np.ones(volume.shape, bool))
    ours = np.c_[indices[:, ::-1], np.ones(len(indices))] @ volume.affine.T
    theirs = np.rint(ours @ np.linalg.inv(affine).T)[:, :3].astype(int)
    assert np.array_equal(volume.pixels[..., 1].ravel(), turned[tuple(theirs.T)])

    ours_mask = in_order(mask, axes, flips)[0][tuple(theirs.T)].reshape(volume.shape)
    assert points_of_segmentation(segmented(volume, ours_mask)) == points(in_order(mask, axes, flips)[0], affine)


def test_an_oblique_stack_is_read_and_segmented_in_place():
    ramp, mask = figure()
    angles = np.radians([11, -23, 7])
    turns = [np.eye(3) for _ in angles]
    for axis, (turn, angle) in enumerate(zip(turns, angles, strict=True)):
        one, other = [each for each in range(3) if each != axis]
        turn[[one, one, other, other], [one, other, one, other]] = (
            np.cos(angle),
            -np.sin(angle),
            np.sin(angle),
            np.cos(angle),
        )
    affine = np.eye(4)
    affine[:3, :3] = turns[0] @ turns[1] @ turns[2] @ np.diag([1, 1.1, 3.5])
    affine[:3, 3] = 40, -60, 12
    volume = volume_of(series_files(np.ascontiguousarray(ramp.T), affine, SERIES_PARAMETERS["flair"]))
    ours = from_canonical(volume.pixels[..., 1], volume.grid)
    assert np.array_equal(ours, ramp)
    made, _, _ = answered(volume, to_canonical(mask, volume.grid))
    given, wanted = (
        np.array(sorted(each)) for each in (points_of_segmentation(made["segmentation.dcm"]), points(mask, affine))
    )
    np.testing.assert_allclose(given, wanted, atol=2e-3)


def test_highdicom_reads_the_mask_on_the_source_frames(phantom, files):
    volume = volume_of(files)
    made, found, _ = answered(volume, phantom.mask)
    segments = highdicom.seg.segread(io.BytesIO(made["segmentation.dcm"]))
    assert segments.number_of_segments == len(found) > 1
    placed = segments.get_volume(combine_segments=True, relabel=False)
    inverse = np.linalg.inv(np.diag([-1, -1, 1, 1]) @ placed.affine) @ volume.affine
    theirs = np.zeros(phantom.mask.shape, int)
    for index in np.argwhere(phantom.mask):
        at = np.rint(inverse @ (*index[::-1], 1)).astype(int)[:3]
        theirs[tuple(index)] = placed.array[tuple(at)]
    assert np.array_equal(theirs, label_lesions(phantom.mask))
    assert np.count_nonzero(placed.array) == np.count_nonzero(phantom.mask)
    described = segments.get_segment_description(1)
    assert described.algorithm_identification.version == FINDER.version
    assert described.segmented_property_type.meaning == "Lesion"
    assert [each.meaning for each in described.anatomic_regions] == ["Brain"]
    assert segments.ContentDescription.startswith("Research use only")
    flair = {pydicom.dcmread(io.BytesIO(content)).SOPInstanceUID for content in files.values() if b"FLAIR" in content}
    [series] = segments.ReferencedSeriesSequence
    assert {each.ReferencedSOPInstanceUID for each in series.ReferencedInstanceSequence} == flair


def test_a_repeated_attempt_has_the_same_identifiers(phantom, files):
    volume = volume_of(files)
    first, second = (
        [pydicom.dcmread(io.BytesIO(content)).SOPInstanceUID for content in answered(volume, phantom.mask)[0].values()]
        for _ in range(2)
    )
    assert first == second


def test_slices_run_as_radiologists_see_them():
    volume = volume_of(figure_files((1, 2, 0), (False, True, True)))
    step = volume.affine[:3, :3] / volume.spacing_mm[::-1]
    np.testing.assert_allclose(step, np.diag([-1, -1, 1]), atol=1e-9)


def test_an_enhanced_file_is_read_in_the_order_of_its_positions(phantom):
    pixels = phantom.volume.pixels[..., 1].astype(np.uint16)
    order = list(np.random.default_rng(1).permutation(len(pixels)))
    volume = volume_of({"x": enhanced_file(pixels, phantom.volume.affine, SERIES_PARAMETERS["flair"], order)})
    assert np.array_equal(volume.pixels[..., 1], pixels)
    assert "flair" in volume.sequences
    made, _, _ = answered(volume, phantom.mask)
    wanted = points(phantom.mask.T, phantom.volume.affine)
    assert points_of_segmentation(made["segmentation.dcm"]) == wanted
    for groups in pydicom.dcmread(io.BytesIO(made["segmentation.dcm"])).PerFrameFunctionalGroupsSequence:
        number = int(groups.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber)
        place = groups.PlanePositionSequence[0].ImagePositionPatient
        lps = (phantom.volume.affine @ (0, 0, order[number - 1], 1))[:3] * (-1, -1, 1)
        np.testing.assert_allclose([float(each) for each in place], lps, atol=1e-6)


def test_values_are_rescaled_and_a_window_is_not_applied(files):
    def rescale(found, _):
        found.RescaleSlope, found.RescaleIntercept, found.WindowCenter, found.WindowWidth = 0.5, -7, 10, 5

    plain, scaled = volume_of(files), volume_of(edited(files, rescale))
    np.testing.assert_allclose(scaled.pixels, plain.pixels * 0.5 - 7)


def test_inverted_grey_values_are_inverted_back(files):
    def invert(found, _):
        found.PhotometricInterpretation = "MONOCHROME1"

    np.testing.assert_array_equal(volume_of(edited(files, invert)).pixels, -volume_of(files).pixels.astype(np.float32))


def test_two_echoes_of_one_series_are_two_sequences(phantom):
    pixels = phantom.volume.pixels.astype(np.uint16)
    proton = SeriesParameters(number=9, echo_ms=12, repetition_ms=550, description="T1")
    late = SeriesParameters(
        number=9, echo_ms=120, repetition_ms=9000, inversion_ms=2500, scanning_sequence=("SE", "IR")
    )
    first = series_files(pixels[..., 0], phantom.volume.affine, proton)
    second = series_files(pixels[..., 1], phantom.volume.affine, late)

    def apart(found, index):
        found.SOPInstanceUID = found.file_meta.MediaStorageSOPInstanceUID = f"1.2.9.{index + 1}"

    volume = volume_of({**first, **{f"b{name}": content for name, content in edited(second, apart).items()}})
    assert np.array_equal(volume.pixels[..., 0], pixels[..., 0])
    assert np.array_equal(volume.pixels[..., 1], pixels[..., 1])


def test_two_echoes_of_an_enhanced_file_are_two_sequences_with_separate_frames(phantom):
    pixels = phantom.volume.pixels[..., 1].astype(np.uint16)
    both = enhanced_file(pixels, phantom.volume.affine, SERIES_PARAMETERS["flair"], [*range(SLICES), *range(SLICES)])

    def second_echo(found, _):
        stored = found.pixel_array.copy()
        stored[:SLICES] //= 2
        found.PixelData = stored.tobytes()
        del found.SharedFunctionalGroupsSequence[0].MREchoSequence
        for number, groups in enumerate(found.PerFrameFunctionalGroupsSequence):
            echo = Dataset()
            echo.EffectiveEchoTime = 120 if number >= SLICES else 12
            groups.MREchoSequence = Sequence([echo])

    volume = volume_of(edited({"x": both}, second_echo))
    assert np.array_equal(volume.pixels[..., 1], pixels)
    content = segmented(volume, phantom.mask)
    assert points_of_segmentation(content) == points(phantom.mask.T, phantom.volume.affine)
    frames = pydicom.dcmread(io.BytesIO(content)).PerFrameFunctionalGroupsSequence
    numbers = {int(each.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber) for each in frames}
    assert numbers == {int(index) + SLICES + 1 for index in np.flatnonzero(phantom.mask.any((1, 2)))}


def test_series_on_other_grids_are_resampled_onto_flair(phantom, files):
    coarse = np.ascontiguousarray(phantom.volume.pixels[:, ::2, ::2, 2]).astype(np.uint16)
    affine = phantom.volume.affine @ np.diag([2, 2, 1, 1])
    flair = {name: content for name, content in files.items() if b"FLAIR" in content}
    volume = volume_of({**flair, **series_files(coarse, affine, SERIES_PARAMETERS["post"])}, align="none")
    assert volume.shape == (SLICES, 64, 64)
    inner = np.s_[2:-2, 2:60, 2:60]
    given, wanted = volume.pixels[..., 2][inner].astype(float), phantom.volume.pixels[..., 2][inner].astype(float)
    assert np.corrcoef(given.ravel(), wanted.ravel())[0, 1] > 0.9


def test_fields_give_roles_that_the_headers_lack(phantom):
    blank = {"scanning_sequence": (), "echo_ms": 50, "repetition_ms": 2000, "study": "blank"}
    sent = []
    for role, channel in (("pre", 0), ("flair", 1), ("post", 2)):
        parameters = SeriesParameters(number=channel + 1, **blank)
        pixels = phantom.volume.pixels[..., channel].astype(np.uint16)
        sent += uploads(series_files(pixels, phantom.volume.affine, parameters), role)
    assert np.array_equal(read_volume(sent, Limits(files=200)).pixels, phantom.volume.pixels)
    with pytest.raises(AmbiguousSeries, match="Send each in its field"):
        read_volume([each._replace(role=None) for each in sent], Limits(files=200))


def test_a_single_series_without_a_role_fills_all_channels(phantom):
    pixels = phantom.volume.pixels[..., 1].astype(np.uint16)
    parameters = SeriesParameters(echo_ms=50, repetition_ms=2000)
    volume = volume_of(series_files(pixels, phantom.volume.affine, parameters))
    assert warned(volume, "grey")
    assert np.array_equal(volume.pixels[..., 0], pixels)


def test_limits_are_enforced_by_the_header_alone(files):
    with pytest.raises(ImageTooLarge):
        inspect_upload(uploads(files), Limits(slice_pixels=4000))
    with pytest.raises(TooManyFiles):
        inspect_upload(uploads(files), Limits(slices=SLICES - 1))
    with pytest.raises(ImageTooLarge):
        inspect_upload(uploads(files), Limits(volume_pixels=SLICES * 64 * 63))


def test_a_single_slice_is_a_study():
    [(name, content), *_] = figure_files(*AXIAL).items()
    assert volume_of({name: content}).shape == (1, 20, 18)


def test_every_mutated_header_is_read_or_refused_with_a_sentence(files):
    rng = np.random.default_rng(0)
    contents = list(files.values())
    words = []
    for turn in range(400):
        data = bytearray(contents[turn % len(contents)])
        header = len(data) - 64 * 64 * 2
        for place in rng.integers(132, header, rng.integers(1, 6)):
            data[place] = rng.integers(256)
        if turn % 5 == 0:
            del data[rng.integers(132, len(data)) :]
        try:
            volume_of({"x.dcm": bytes(data)})
        except BadInput as error:
            words.append(error.detail)
    assert 50 < len(words) < 400
    assert all(each.endswith(".") and "2.25" not in each and "Phantom" not in each for each in words)


def test_the_submitter_says_which_sequence_a_single_series_is_whatever_its_header(phantom):
    pixels = phantom.volume.pixels[..., 1].astype(np.uint16)
    flair = SeriesParameters(echo_ms=120, repetition_ms=9000, inversion_ms=2500, scanning_sequence=("SE", "IR"))
    sent = uploads(series_files(pixels, phantom.volume.affine, flair))
    by_header, stated = read_volume(sent, Limits()), read_volume(sent, Limits(), sequence="post")
    assert {role: one.by for role, one in by_header.identified.items()} == {"flair": "header"}
    assert {role: one.by for role, one in stated.identified.items()} == {"post": "stated"}
    assert stated.present == (False, False, True)
