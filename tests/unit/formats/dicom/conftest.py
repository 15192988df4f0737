"""The phantom study that DICOM tests share."""

import pytest
from tests.dicoms import SLICES

from metseg.phantom import head
from metseg.phantom.dicom import study_files


@pytest.fixture(scope="module")
def phantom():
    return head(5, slices=SLICES, size_px=64)


@pytest.fixture(scope="module")
def files(phantom):
    return study_files(phantom)
