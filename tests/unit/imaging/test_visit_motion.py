"""The motion of a head between two visits, which differ in all that scanners differ in."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from tests.visits import Scanner, registration_error_mm, scan

from metseg.imaging import FLAIR, SpatialImage, find_visit_motion

PRIOR = Scanner()
LESIONS = [((30.0, 20.0, 10.0), 12.0), ((-30.0, -20.0, 20.0), 8.0)]
GROWN = [((30.0, 20.0, 10.0), 20.0), ((-30.0, -20.0, 20.0), 4.0), ((-20.0, 30.0, 30.0), 15.0)]
CURRENT = {
    "noise and shading": Scanner((3, -2, 5), (5, -4, 6), noise=6, bias=0.3),
    "a large rotation": Scanner((10, 8, -15), (20, -14, 12), noise=8, bias=-0.3),
    "thick slices": Scanner((5, -6, 8), (-8, 9, -10), spacing_mm=(5, 0.9, 0.9), noise=5, gain=0.6),
    "a narrow field of view": Scanner((5, -6, 8), (0, 0, -25), spacing_mm=(2, 1, 1), size_mm=(100, 180, 170)),
    "a wide one far away": Scanner(
        (5, -6, 20), (60, -70, 90), spacing_mm=(3, 1.5, 1.5), size_mm=(330, 360, 360), noise=5, bias=-0.3
    ),
}
OTHER_SEQUENCE = Scanner((5, -6, 8), (-8, 9, -10), spacing_mm=(3, 1, 1), channel=FLAIR, noise=5, bias=-0.3)


def _found(current):
    prior, visit = scan(LESIONS, PRIOR), scan(GROWN, current, seed=1)
    found = find_visit_motion(SpatialImage(prior.pixels, prior.affine), SpatialImage(visit.pixels, visit.affine))
    assert found is not None
    return found


def _degrees(found, current):
    return np.degrees(Rotation.from_matrix(found[:3, :3] @ current.motion[:3, :3].T).magnitude())


@pytest.mark.slow
@pytest.mark.parametrize("difference", CURRENT)
def test_the_motion_is_found_to_a_millimetre_and_a_degree(difference):
    found = _found(CURRENT[difference])
    assert registration_error_mm(found, PRIOR, CURRENT[difference]) < 1
    assert _degrees(found, CURRENT[difference]) < 1


@pytest.mark.slow
def test_another_sequence_is_registered_too():
    found = _found(OTHER_SEQUENCE)
    assert registration_error_mm(found, PRIOR, OTHER_SEQUENCE) < 2
    assert _degrees(found, OTHER_SEQUENCE) < 1


def test_a_few_slices_are_not_registered():
    prior = scan(LESIONS, PRIOR)
    thin = SpatialImage(prior.pixels[:6], prior.affine)
    assert find_visit_motion(SpatialImage(prior.pixels, prior.affine), thin) is None
