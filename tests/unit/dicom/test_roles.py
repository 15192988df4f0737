import pytest

from metseg.formats.dicom.instances import Traits
from metseg.formats.dicom.roles import role_of


def traits(words="", tr=None, te=None, ti=None, **more):
    given = {"scanning": frozenset(), "sequence": "", "contrast": False, "image_type": frozenset()} | more
    return Traits(repetition_ms=tr, echo_ms=te, inversion_ms=ti, words=words.lower(), **given)


FLAIR = {"tr": 9000, "te": 120, "ti": 2500}
T1 = {"tr": 550, "te": 12}
MPRAGE = {"tr": 2300, "te": 3, "ti": 900}


@pytest.mark.parametrize(
    ("told", "role"),
    [
        (traits(**FLAIR), "flair"),
        (traits("T1 Gd", **FLAIR), "flair"),
        (traits(**FLAIR, contrast=True), "flair"),
        (traits(**T1), "pre"),
        (traits(**T1, contrast=True), "post"),
        (traits("ax t1 +c", **T1), "post"),
        (traits("AX T1 POST GAD", **T1), "post"),
        (traits("t1 pre contrast", **T1), "pre"),
        (traits("T1 ohne KM", **T1), "pre"),
        (traits("T1 mit KM", **T1), "post"),
        (traits(**MPRAGE), "pre"),
        (traits("t1 flair", tr=2000, te=12, ti=800), "pre"),
        (traits("t1c"), "post"),
        (traits("t1_mprage_sag"), "pre"),
        (traits("FLAIR tra"), "flair"),
        (traits("t2_tirm_tra_dark-fluid"), "flair"),
        (traits("sag 3d", sequence="*tfl3d1"), "pre"),
    ],
)
def test_a_sequence_is_told_by_its_times_then_by_its_words(told, role):
    assert role_of(told)[0] == role


@pytest.mark.parametrize(
    "told",
    [
        traits("AX T2", tr=4000, te=100),
        traits("t2 tse"),
        traits("DWI b1000", tr=8000, te=90),
        traits("ADC map", **T1),
        traits("T1 map", **T1, image_type=frozenset({"DERIVED", "PRIMARY", "T1 MAP"})),
        traits("ep2d", tr=550, te=30, scanning=frozenset({"EP"})),
        traits("TOF 3D", tr=25, te=4),
        traits("SWI", tr=28, te=20),
        traits(""),
    ],
)
def test_what_the_model_does_not_take_has_no_role(told):
    assert role_of(told) == (None, "")


def test_the_way_a_role_was_told_quotes_nothing():
    assert "secret" not in role_of(traits("FLAIR secret"))[1]
    assert role_of(traits("FLAIR secret"))[1] == "its description"
