"""A phantom as DICOM, for the exports that refer to the images of their study."""

import pytest

from metseg import phantom
from metseg.phantom.dicom import study_files


@pytest.fixture(scope="module")
def head():
    return phantom.head(5, slices=8, size_px=64)


@pytest.fixture(scope="module")
def files(head):
    return study_files(head)
