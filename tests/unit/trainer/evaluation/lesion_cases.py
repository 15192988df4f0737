"""Cases on which lesion-wise figures are compared with those of BraTS-METS's own tools; needs NumPy alone."""

import numpy as np

CASES, SHAPE = 24, (24, 48, 48)


def lesion_case(number: int) -> tuple[np.ndarray, np.ndarray]:
    """True and predicted masks, bool, in voxels of 1 mm: ellipsoids moved, swollen, merged, split, missed and false."""
    random = np.random.default_rng(number)
    truth, predicted = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    for _ in range(int(random.integers(0, 7))):
        centre = random.uniform((3, 5, 5), (21, 43, 43))
        radii = random.uniform(0.8, 5.0) * random.uniform(0.7, 1.3, 3)
        truth |= _ball(centre, radii)
        if random.random() < 0.8:
            predicted |= _ball(centre + random.normal(0, 1, 3), radii * random.uniform(0.6, 1.5))
        if random.random() < 0.2:
            predicted |= _ball(centre + random.uniform(-6, 6, 3), radii * 0.6)
    for _ in range(int(random.integers(0, 3))):
        predicted |= _ball(random.uniform((3, 5, 5), (21, 43, 43)), np.full(3, random.uniform(0.8, 2)))
    return truth, predicted


def _ball(centre, radii) -> np.ndarray:
    grid = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), -1)
    return (((grid - centre) / radii) ** 2).sum(-1) <= 1
