import pytest

from metseg.formats.dicom.acquisition import Acquisition
from metseg.formats.dicom.roles import role_of_acquisition


def acquired(description="", tr=None, te=None, ti=None, **more):
    return Acquisition(repetition_ms=tr, echo_ms=te, inversion_ms=ti, description=description, **more)


FLAIR = {"tr": 9000, "te": 120, "ti": 2500}
T1 = {"tr": 550, "te": 12}
MPRAGE = {"tr": 2300, "te": 3, "ti": 900}


@pytest.mark.parametrize(
    ("acquisition", "role"),
    [
        (acquired(**FLAIR), "flair"),
        (acquired("T1 Gd", **FLAIR), "flair"),
        (acquired(**FLAIR, agent=True), "flair"),
        (acquired(**T1), "pre"),
        (acquired(**T1, agent=True), "post"),
        (acquired("ax t1 +c", **T1), "post"),
        (acquired("AX T1 POST GAD", **T1), "post"),
        (acquired("t1 pre contrast", **T1), "pre"),
        (acquired("T1 ohne KM", **T1), "pre"),
        (acquired("T1 mit KM", **T1), "post"),
        (acquired(**MPRAGE), "pre"),
        (acquired("t1 flair", tr=2000, te=12, ti=800), "pre"),
        (acquired("t1c"), "post"),
        (acquired("t1_mprage_sag"), "pre"),
        (acquired("FLAIR tra"), "flair"),
        (acquired("t2_tirm_tra_dark-fluid"), "flair"),
        (acquired("sag 3d", sequence_name="*tfl3d1"), "pre"),
    ],
)
def test_a_role_follows_from_timing_then_description(acquisition, role):
    assert role_of_acquisition(acquisition)[0] == role


@pytest.mark.parametrize(
    "acquisition",
    [
        acquired("AX T2", tr=4000, te=100),
        acquired("t2 tse"),
        acquired("DWI b1000", tr=8000, te=90),
        acquired("ADC map", **T1),
        acquired("T1 map", **T1, image_type=frozenset({"DERIVED", "PRIMARY", "T1 MAP"})),
        acquired("ep2d", tr=550, te=30, scanning_sequence=frozenset({"EP"})),
        acquired("TOF 3D", tr=25, te=4),
        acquired("SWI", tr=28, te=20),
        acquired(""),
    ],
)
def test_other_sequences_have_no_role(acquisition):
    assert role_of_acquisition(acquisition) == (None, "")


def test_the_reason_for_a_role_quotes_no_header():
    assert "secret" not in role_of_acquisition(acquired("FLAIR secret"))[1]
    assert role_of_acquisition(acquired("FLAIR secret"))[1] == "its description"
