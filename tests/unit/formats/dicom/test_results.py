"""DICOM results of studies with unusual but valid headers."""

import io

import pydicom
import pytest
from tests.dicoms import answered, edited, volume_of

NAMES = [
    (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    (["ISO 2022 IR 13", "ISO 2022 IR 87"], "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"),
    (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
    ("ISO_IR 6", "Doe^Jane"),
    ("ISO 2022 IR 100", "Müller^Änne"),
    ("ISO_IR 144", "Люкceмбypг"),
    ("GB18030", "Wang^XiaoDong=王^小东"),
    ("ISO_IR 192", "Wang^XiaoDong=王^小东"),
]


@pytest.mark.parametrize(("character_set", "name"), NAMES)
def test_a_name_in_any_character_set_is_kept_in_the_results(files, phantom, character_set, name):
    def named(dataset, _):
        dataset.SpecificCharacterSet, dataset.PatientName = character_set, name

    made, _, warnings = answered(volume_of(edited(files, named)), phantom.mask)
    assert warnings == ()
    for content in made.values():
        assert str(pydicom.dcmread(io.BytesIO(content)).PatientName) == name
