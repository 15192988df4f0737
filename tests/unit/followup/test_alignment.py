"""Visits aligned in both directions: what a follow-up relies on."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from tests.visits import Scanner, registration_error_mm, scan, time_point

from metseg.errors import NotComparable
from metseg.followup.alignment import align
from metseg.imaging import FLAIR

PRIOR = Scanner()
LESIONS = [((30.0, 20.0, 10.0), 12.0), ((-30.0, -20.0, 20.0), 8.0)]
GROWN = [((30.0, 20.0, 10.0), 20.0), ((-20.0, 30.0, 30.0), 15.0)]
CURRENT = {
    "post-contrast, noise and shading": Scanner((3, -2, 5), (5, -4, 6), noise=6, bias=0.3),
    "FLAIR, thin slices": Scanner((5, -6, 8), (-8, 9, -10), spacing_mm=(3, 1, 1), channel=FLAIR, noise=5, bias=-0.3),
    "FLAIR, shading": Scanner((3, -2, 5), (5, -4, 6), spacing_mm=(3, 1, 1), channel=FLAIR, noise=6, bias=0.3),
    "FLAIR, a large rotation": Scanner((10, 8, -15), (20, -14, 12), channel=FLAIR, noise=8, bias=-0.3),
    "FLAIR, a wide field far away": Scanner(
        (5, -6, 20), (60, -70, 90), spacing_mm=(3, 1.5, 1.5), size_mm=(330, 360, 360), channel=FLAIR, noise=5, bias=-0.3
    ),
    "FLAIR, thick slices": Scanner(
        (5, -6, 8), (-8, 9, -10), spacing_mm=(5, 0.9, 0.9), channel=FLAIR, noise=5, gain=0.6
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("difference", CURRENT)
def test_both_directions_together_are_within_a_millimetre_and_a_degree(difference):
    current = CURRENT[difference]
    found = align(time_point(scan(LESIONS, PRIOR)), time_point(scan(GROWN, current, seed=1)), 2)
    assert registration_error_mm(found.from_first, PRIOR, current) < 1
    turned = Rotation.from_matrix(found.from_first[:3, :3] @ current.motion[:3, :3].T)
    assert np.degrees(turned.magnitude()) < 1
    assert np.allclose(found.registration.from_first, found.from_first)
    assert ("less exact" in "".join(found.warnings)) == (current.channel == FLAIR)


def test_directions_that_disagree_are_refused(monkeypatch):
    def found(fixed, moving, threads, *, guess=None):
        shifted = np.eye(4)
        shifted[0, 3] = 4.0
        return shifted

    monkeypatch.setattr("metseg.followup.alignment.find_visit_motion", found)
    with pytest.raises(NotComparable, match="cannot be registered"):
        align(time_point(scan(LESIONS, PRIOR)), time_point(scan(GROWN, PRIOR, seed=1)), 2)
