"""Names of uploaded files."""

import pytest

from metseg.formats import base_name, is_system_file


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("slice_1.png", "slice_1.png"),
        ("/home/doctor/DOE^JANE/slice_1.png", "slice_1.png"),
        ("C:\\scans\\slice_1.png", "slice_1.png"),
        ("..", ".."),
        ("a\x00\r\n\u202eb.png", "ab.png"),
        ("", "unnamed"),
        ("x/", "unnamed"),
        ("x" * 1000 + ".png", "x" * 196 + ".png"),
    ],
)
def test_a_filename_is_reduced_to_a_bounded_base_name(given, kept):
    assert base_name(given) == kept


@pytest.mark.parametrize(
    ("name", "expected"),
    [(".hidden", True), ("Thumbs.db", True), ("__MACOSX", True), ("slice_1.png", False), ("DICOMDIR", False)],
)
def test_hidden_files_and_those_of_operating_systems_are_recognised(name, expected):
    assert is_system_file(name) is expected
