"""Which series of a study becomes which sequence, and what is ambiguous."""

import json
import pickle

import numpy as np
import pytest
from tests.dicoms import edited, uploads, volume_of, warned

from metseg.contracts import Problem
from metseg.errors import AmbiguousSeries, UnusableImage
from metseg.formats import dicom, read_volume
from metseg.phantom.dicom import SERIES_PARAMETERS, SeriesParameters, enhanced_file, series_files
from metseg.settings import Limits

LIMITS = Limits(files=400)
GRADIENT = ("GR",)
INTRUDERS = {
    "SWAN with an agent": SeriesParameters(
        9, "", 24, 40, None, GRADIENT, "Gadobutrol", extra={"SequenceVariant": ["SP"], "MRAcquisitionType": "3D"}
    ),
    "TOF": SeriesParameters(9, "TOF_3D_multi-slab", 3.6, 21, None, GRADIENT, "Gadobutrol"),
    "TOF by its flag": SeriesParameters(9, "", 3.6, 21, None, GRADIENT, "Gadobutrol", extra={"AngioFlag": "Y"}),
    "TOF by flow compensation": SeriesParameters(9, "", 3.6, 21, None, GRADIENT, "G", extra={"ScanOptions": "FC"}),
    "scout": SeriesParameters(9, "AAHead_Scout", 1.4, 3.2, None, GRADIENT, "Gadobutrol"),
    "scout without a name": SeriesParameters(9, "", 3, 8, None, GRADIENT, "Gadobutrol"),
    "calibration": SeriesParameters(9, "ASSET Calibration", 2, 150, None, GRADIENT, "Gadobutrol"),
    "field map": SeriesParameters(9, "gre_field_mapping", 4.9, 400, None, GRADIENT, "Gadobutrol"),
    "fMRI": SeriesParameters(9, "", 30, 1400, None, ("EP", "GR"), "Gadobutrol"),
    "steady state": SeriesParameters(9, "", 2, 5, None, GRADIENT, "G", extra={"SequenceVariant": ["SS", "SK"]}),
    "diffusion": SeriesParameters(9, "", 30, 1400, None, ("SE",), "G", extra={"DiffusionBValue": 1000.0}),
    "phase": SeriesParameters(9, "", 12, 550, extra={"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]}),
    "phase by its component": SeriesParameters(9, "", 12, 550, contrast="G", extra={"ComplexImageComponent": "PHASE"}),
    "opposed phase": SeriesParameters(
        9, "t1_vibe_dixon", 2.4, 6, contrast="G", extra={"ImageType": ["ORIGINAL", "PRIMARY", "M", "OPP_PHASE"]}
    ),
    "projection": SeriesParameters(
        9, "T1", 12, 550, contrast="G", extra={"ImageType": ["DERIVED", "SECONDARY", "PROJECTION IMAGE"]}
    ),
}


def series(phantom, channel, parameters, **more):
    pixels = phantom.volume.pixels[..., channel].astype(np.uint16)
    return series_files(pixels, phantom.volume.affine, SeriesParameters(**{**vars(parameters), **more}))


def fine(phantom, parameters):
    """The series with voxels of half the size; it would win by the number of voxels."""
    pixels = np.ascontiguousarray(phantom.volume.pixels[..., 1].repeat(2, 1).repeat(2, 2)[:, ::-1]).astype(np.uint16)
    return series_files(pixels, phantom.volume.affine @ np.diag([0.5, 0.5, 1, 1]), parameters)


def read(*studies):
    return read_volume(uploads({name: content for files in studies for name, content in files.items()}), LIMITS)


@pytest.mark.parametrize("intruder", INTRUDERS.values(), ids=INTRUDERS.keys())
def test_a_finer_series_of_another_kind_displaces_no_t1(phantom, intruder):
    pre, post = (series(phantom, channel, SERIES_PARAMETERS[role]) for channel, role in ((0, "pre"), (2, "post")))
    volume = read(pre, post, fine(phantom, intruder))
    for channel in (0, 2):
        assert np.array_equal(volume.pixels[..., channel], phantom.volume.pixels[..., channel])
    assert warned(volume, "left out: series 9")


@pytest.mark.parametrize(
    "elements",
    [
        {"EchoPlanarPulseSequence": "YES"},
        {"AcquisitionContrast": "DIFFUSION"},
        {"AcquisitionContrast": "T2_STAR"},
        {"TimeOfFlightContrast": "YES"},
        {"PhaseContrast": "YES"},
        {"ComplexImageComponent": "PHASE"},
        {"ImageType": ["DERIVED", "PRIMARY", "PERFUSION", "NONE"]},
    ],
)
def test_an_enhanced_file_of_another_kind_displaces_no_t1(phantom, elements):
    pixels = phantom.volume.pixels[..., 1].astype(np.uint16)
    other = SeriesParameters(9, "", 12, 550, contrast="Gadobutrol", extra=elements)
    post = series(phantom, 2, SERIES_PARAMETERS["post"])
    volume = read(post, {"enhanced": enhanced_file(pixels, phantom.volume.affine, other)})
    assert np.array_equal(volume.pixels[..., 2], phantom.volume.pixels[..., 2])
    assert warned(volume, "left out: series 9")


def test_the_examinations_protocol_does_not_describe_a_series(phantom):
    for protocol in ("BRAIN W/WO CONTRAST", "BRAIN WITH CONTRAST", "001_8NV_Brain+MRA"):
        exam = {"extra": {"ProtocolName": protocol}}
        pre, flair = (
            series(phantom, index, SERIES_PARAMETERS[role], **exam) for index, role in enumerate(("pre", "flair"))
        )
        volume = read(pre, flair)
        assert np.array_equal(volume.pixels[..., 0], phantom.volume.pixels[..., 0])
        assert np.array_equal(volume.pixels[..., 1], phantom.volume.pixels[..., 1])
        assert not warned(volume, "pre-contrast T1 series was")


def test_ges_protocol_describes_the_examination_even_with_one_series(phantom):
    exam = {"ProtocolName": "BRAIN WITH CONTRAST", "Manufacturer": "GE MEDICAL SYSTEMS"}
    volume = volume_of(series(phantom, 0, SERIES_PARAMETERS["pre"], extra=exam))
    assert warned(volume, "read as pre-contrast")


@pytest.mark.parametrize("post", ["3D T1 GAD", "T1 CON CONTRASTE", "AX T1 POST NON FS", "PRE-OP STEALTH AX T1 POST GD"])
def test_contrast_in_a_description_needs_no_agent_element(phantom, post):
    files = [series(phantom, index, SERIES_PARAMETERS[role]) for index, role in enumerate(("pre", "flair"))]
    volume = read(*files, series(phantom, 2, SERIES_PARAMETERS["post"], contrast="", description=post))
    assert np.array_equal(volume.pixels, phantom.volume.pixels)


@pytest.mark.parametrize(
    "agent",
    ["NOT ADMINISTERED", "WITHOUT CONTRAST", "NO GAD", "None used", "Not Applicable", "ohne KM", "0 ml", "Unknown"],
)
def test_an_agent_that_is_denied_in_words_was_not_given(phantom, agent):
    pre, flair = (series(phantom, index, SERIES_PARAMETERS[role]) for index, role in enumerate(("pre", "flair")))
    without = edited(pre, lambda found, _: setattr(found, "ContrastBolusAgent", agent))
    assert read(without, flair).present == (True, True, False)


@pytest.mark.parametrize("agent", ["NON-IONIC GADOLINIUM", "0.1 mmol/kg Gadovist", "Normagad", "Yes"])
def test_an_agent_that_begins_like_a_denial_was_given(phantom, agent):
    post = series(phantom, 2, SERIES_PARAMETERS["post"], contrast=agent, description="T1")
    assert read(post, series(phantom, 1, SERIES_PARAMETERS["flair"])).present == (False, True, True)


def test_a_short_inversion_is_no_flair_whatever_its_name(phantom):
    stir = SeriesParameters(3, "t2_tirm_cor", 60, 4000, 160, ("SE", "IR"))
    volume = read(series(phantom, 0, SERIES_PARAMETERS["pre"]), series(phantom, 1, stir))
    assert volume.present == (True, False, False)
    assert warned(volume, "STIR")


def test_images_that_no_model_uses_do_not_end_the_study(phantom, files):
    colour, palette = (
        edited(
            series(phantom, 0, SERIES_PARAMETERS["pre"], number=number, description=""),
            lambda found, _, elements=elements: [setattr(found, *each) for each in elements.items()],
        )
        for number, elements in (
            (8, {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}),
            (9, {"PhotometricInterpretation": "PALETTE COLOR"}),
        )
    )
    functional = enhanced_file(
        np.zeros((1500, 16, 16), np.uint16), phantom.volume.affine, SeriesParameters(7, "fMRI", 30, 2000)
    )
    volume = read(files, colour, palette, {"fmri.dcm": functional})
    assert np.array_equal(volume.pixels, read(files).pixels)
    assert warned(volume, "MR Image in colour (16)")
    assert warned(volume, "MR Image of 1500 frames and another weighting (1)")


def test_two_t1_series_without_a_hint_of_contrast_are_ambiguous(phantom):
    one, other = (
        series(phantom, 0, SERIES_PARAMETERS["pre"], number=number, description="AX T1 Doe") for number in (4, 7)
    )
    flair = series(phantom, 1, SERIES_PARAMETERS["flair"])
    with pytest.raises(AmbiguousSeries) as asked:
        read(one, other, flair)
    for word in ("series 4 (T1, axial", "series 7 (T1, axial", "8 slices of 64 x 64", "pre, flair or post"):
        assert word in asked.value.detail
    assert "Doe" not in asked.value.detail
    candidates = json.loads(Problem.of(asked.value).model_dump_json())["candidates"]
    assert [(one["series"], one["files"], one["as"]) for one in candidates] == [
        (4, 8, ["pre", "post"]),
        (7, 8, ["pre", "post"]),
    ]
    assert all(one["description"].startswith("T1, axial, 8 slices of 64 x 64") for one in candidates)
    again = pickle.loads(pickle.dumps(asked.value))
    assert Problem.model_validate_json(Problem.of(again).model_dump_json()) == Problem.of(asked.value)
    named = [*uploads(one, "pre"), *uploads(flair, "flair"), *uploads(other, "post")]
    assert read_volume(named, LIMITS).sequences.keys() == {"pre", "flair", "post"}


def test_contradictory_contrast_is_ambiguous(phantom):
    with pytest.raises(AmbiguousSeries):
        read(series(phantom, 0, SERIES_PARAMETERS["pre"], description="AX T1 W/O CONTRAST", contrast="Gadovist"))


def test_a_possible_flair_is_ambiguous(phantom):
    unknown = SeriesParameters(8, "AX", 50, 2000)
    with pytest.raises(AmbiguousSeries, match="series 8") as asked:
        read(series(phantom, 2, SERIES_PARAMETERS["post"]), series(phantom, 1, unknown))
    fields = {one.series: one.fields for one in asked.value.candidates}
    assert "flair" in fields[8] and fields[SERIES_PARAMETERS["post"].number] == ("post",)


@pytest.mark.parametrize(
    "parameters",
    [
        SeriesParameters(5, "AX T2 TSE", 100, 4000),
        SeriesParameters(5, "ADC", 80, 5000, extra={"ImageType": ["DERIVED", "PRIMARY", "ADC"]}),
        SeriesParameters(5, "ep2d_diff", 80, 5000, None, ("EP",)),
    ],
)
def test_a_single_other_series_is_refused_unless_a_field_names_it(phantom, parameters):
    files = series(phantom, 1, parameters)
    with pytest.raises(UnusableImage, match="series 5"):
        volume_of(files)
    assert volume_of(files, "flair").shape == phantom.mask.shape


def test_the_finest_of_several_series_is_used_and_the_others_are_named(phantom):
    post = [series(phantom, 2, SERIES_PARAMETERS["post"], number=number) for number in (6, 8)]
    assert warned(read(*post), "series 8 was used and not 6")


def test_a_deidentified_study_has_the_roles_of_the_original(phantom):
    phase = SeriesParameters(9, "T1 axial", 12, 550, contrast="G", extra={"ImageType": ["ORIGINAL", "PRIMARY", "P"]})
    files = [series(phantom, index, SERIES_PARAMETERS[role]) for index, role in enumerate(("pre", "flair", "post"))]
    sent = uploads({name: content for each in (*files, fine(phantom, phase)) for name, content in each.items()})
    with dicom.deidentify_uploads(sent, LIMITS) as clean:
        assert np.array_equal(read_volume(clean, LIMITS).pixels, phantom.volume.pixels)
