"""A bug of metseg is not reported as a damaged file."""

import io

import pytest
from tests.dicoms import FINDER
from tests.dicoms import volume_of as dicom_volume

from metseg.errors import UnreadableImage
from metseg.formats import dicom
from metseg.formats.dicom import results
from metseg.formats.dicom.deidentify import Pseudonyms, deidentify
from metseg.formats.dicom.safe_read import read_elements, translate_errors
from metseg.phantom import head
from metseg.phantom.dicom import study_files

FILES = study_files(head(3, slices=4, size_px=64, lesions=1))


def mistake(*_arguments):
    raise AttributeError("a bug")


def test_a_bug_in_deidentification_stays_one(monkeypatch):
    monkeypatch.setattr("metseg.formats.dicom.deidentify.clean_header", mistake)
    content = next(iter(FILES.values()))
    with pytest.raises(AttributeError, match="a bug"):
        deidentify(io.BytesIO(content), io.BytesIO(), Pseudonyms())


def test_a_bug_in_writing_results_stays_one(monkeypatch):
    volume = dicom_volume(FILES, align="none")
    labels, found = volume.pixels[..., 0] * 0, []
    assert dicom.write_results(volume, labels.astype("int32"), found, FINDER)[0]
    monkeypatch.setattr(results, "build_report", mistake)
    with pytest.raises(AttributeError, match="a bug"):
        dicom.write_results(volume, labels.astype("int32"), found, FINDER)


def test_what_pydicom_raises_for_damage_is_reported_as_damage():
    content = next(iter(FILES.values()))
    with pytest.raises(UnreadableImage), translate_errors():
        read_elements(io.BytesIO(content), ("Rows",)).Columns  # noqa: B018
