"""What the classifier of sequences looks at: how bright the parts of a head are in relation to each other.

In a T1 white matter, away from fluid, is brighter than the cortex next to it, and fat is brightest; in a FLAIR the
cortex is the brighter one; after contrast vessels and membranes stand out as small bright spots; in a T2 fluid is
brightest. So the features are brightness by depth below the surface, by distance from dark and from bright places, the
strength of small bright and dark spots, and the histogram. None depends on where in the head a place is.
"""

from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from metseg.imaging import Array, Float64Array, Mask, UInt8Array, bounding_box, foreground_mask

__all__ = ["SEQUENCE_CLASSES", "SEQUENCE_FEATURES", "SequenceClass", "extract_sequence_features"]

SequenceClass = Literal["pre", "flair", "post", "t2", "other"]
SEQUENCE_CLASSES: tuple[SequenceClass, ...] = ("pre", "flair", "post", "t2", "other")

WORKING_PX = 160
"""The longer side of the head when its features are computed."""
SEARCH_PX = 256
"""The longer side of a slice in which the head is searched."""
MIN_HEAD_SHARE, MIN_SIDE_PX = 0.03, 16
"""Of the foreground of a slice: a smaller one is no head."""
RANGE = (-6.0, 6.0)
"""Of intensities after normalisation."""
NORMAL_DEVIATIONS = 1.349
"""The distance between the quartiles of a normal distribution."""
INNER = 0.25
"""The depth below the surface, as a share of the greatest, at which the brain surely has begun."""
ZONES = (0.0, 0.08, 0.16, INNER, 0.45, 0.7, 1.01)
"""Bounds of depth, between which brightness is described."""
QUANTILES = (5, 25, 50, 75, 95)
TAILS = (1, 5, 15, 30, 70, 85, 95, 99)
SPOT_QUANTILES = (50, 80, 95, 99)
SPOT_PX = (5, 11)
RINGS_PX = (0.5, 1.5, 2.5, 4.5, 7.5, 12.5)
"""Bounds of the distance from dark and from bright places."""
DARK, VERY_DARK, BRIGHT = -1.0, -2.0, 1.5
EDGES = np.array([-6, -3, -2, -1.5, -1, -0.6, -0.3, 0, 0.3, 0.6, 1, 1.5, 2, 3, 6])
SCALES_PX = (1.0, 2.0, 4.0)
SCHARR = 32.0
"""By which the filter of that name multiplies a slope."""
MIN_DEVIATION = 0.01
"""Of the brain's brightness, as a share of the brightest: flatter ones are not amplified further."""
BLOB_PX = (1.2, 2.4, 4.8)
BLOB_LEVELS = (-1.0, -0.4, -0.15, 0.15, 0.4, 1.0)

SEQUENCE_FEATURES = (
    *(f"quantile {each} at depth {zone}" for zone in range(len(ZONES) - 1) for each in QUANTILES),
    *(f"inner quantile {each}" for each in TAILS),
    *(f"inner histogram {index}" for index in range(len(EDGES) - 1)),
    *(
        f"{kind} spots of {size} px {where}, quantile {each}"
        for size in SPOT_PX
        for kind in ("bright", "dark")
        for where in ("inside", "at the surface")
        for each in SPOT_QUANTILES
    ),
    *(
        f"brightness around {places}, ring {ring}"
        for places in ("dark", "very dark", "bright")
        for ring in range(len(RINGS_PX) - 1)
    ),
    *(f"{what} at {scale:g} px" for scale in SCALES_PX for what in ("texture", "skewness")),
    *(f"share of blobs of {scale:g} px over {level:g}" for scale in BLOB_PX for level in BLOB_LEVELS),
    *(f"brightness in {kind} of {scale:g} px" for scale in BLOB_PX for kind in ("blobs", "furrows")),
    *(f"slope in histogram {index}" for index in range(len(EDGES) - 1)),
    "level and texture",
    "level and depth",
    "flat",
    "filling",
    "very dark share inside",
    "bright share inside",
    "spread of the head",
)
"""The names of the features, in order."""


def extract_sequence_features(grey: Array) -> Float64Array | None:
    """The features of a slice.

    Args:
        grey: (row, column), of any number type.

    Returns:
        float64, (feature,), in the order of `SEQUENCE_FEATURES`; None where nothing stands out from the background.
    """
    found = _head(grey)
    if found is None:
        return None
    level, head, depth = found
    inner = depth > INNER
    values, slope = level[inner], cv2.magnitude(*(cv2.Scharr(level, cv2.CV_32F, *axis) for axis in ((1, 0), (0, 1))))
    bins = np.digitize(values, EDGES[1:-1])
    features = [
        *_zones(level, depth),
        *np.percentile(values, TAILS),
        *(np.bincount(bins, minlength=len(EDGES) - 1) / len(values)),
        *_spots(level, inner, head & (depth > ZONES[1]) & ~inner),
        *_rings(level, inner, level < DARK),
        *_rings(level, inner, level < VERY_DARK),
        *_rings(level, inner, level > BRIGHT),
        *_textures(level, inner),
        *_blobs(level, inner),
        *_means(np.asarray(slope[inner] / SCHARR, np.float32), bins, len(EDGES) - 1),
        _correlation(*_level_and_texture(level, inner)),
        _correlation(level[head], depth[head]),
        float(np.mean(level[:, 1:][head[:, 1:]] == level[:, :-1][head[:, 1:]])),
        float(head.mean()),
        float(np.mean(values < VERY_DARK)),
        float(np.mean(values > BRIGHT)),
        float(level[head].std()),
    ]
    return np.array(features, np.float64)


def _head(grey: Array) -> tuple[Array, Mask, Array] | None:
    """The head scaled to `WORKING_PX`, its mask, and the depth below its surface; 0 is the brain's usual brightness."""
    small = _scaled(grey.astype(np.float32), SEARCH_PX, enlarge=False)
    low, high = np.percentile(small, (0, 99.5))
    if high <= low:
        return None
    levels = np.rint(((small - low) / (high - low)).clip(0, 1) * 255).astype(np.uint8)
    mask = foreground_mask(levels[np.newaxis])[0]
    if mask.mean() < MIN_HEAD_SHARE:
        return None
    box = bounding_box(mask)
    cropped = _scaled((small[box] - low) / (high - low), WORKING_PX, enlarge=True)
    if min(cropped.shape) < MIN_SIDE_PX:
        return None
    head: Mask = cv2.resize(mask[box].astype(np.uint8), cropped.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
    distance = cv2.distanceTransform(np.pad(_filled(head), 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
    depth = np.asarray(distance.astype(np.float32) / max(float(distance.max()), 1.0), np.float32)
    quartile_1, median, quartile_3 = np.percentile(cropped[depth > INNER], (25, 50, 75))
    deviation = max(float(quartile_3 - quartile_1) / NORMAL_DEVIATIONS, MIN_DEVIATION)
    return ((cropped - median) / deviation).clip(*RANGE).astype(np.float32), head, depth


def _scaled(grey: Array, side_px: int, *, enlarge: bool) -> Array:
    factor = side_px / max(grey.shape)
    if factor >= 1 and not enlarge:
        return grey
    size = max(1, round(grey.shape[1] * factor)), max(1, round(grey.shape[0] * factor))
    return np.asarray(
        cv2.resize(grey, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR), np.float32
    )


def _filled(head: Mask) -> UInt8Array:
    """The outer outline, filled."""
    outlines, _ = cv2.findContours(head.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = cv2.drawContours(np.zeros(head.shape, np.uint8), outlines, -1, 1, cv2.FILLED)
    return np.asarray(filled, np.uint8)


def _quantiles(values: Array, percents: tuple[int, ...]) -> list[float]:
    """Percentiles; 0 where there is no value."""
    return np.percentile(values, percents).tolist() if len(values) else [0.0] * len(percents)


def _zones(level: Array, depth: Array) -> list[float]:
    inside = depth > 0
    zone, values = np.digitize(depth[inside], ZONES), level[inside]
    return [each for index in range(1, len(ZONES)) for each in _quantiles(values[zone == index], QUANTILES)]


def _spots(level: Array, inner: Mask, surface: Mask) -> list[float]:
    """How much places smaller than a disc stand out, bright and dark."""
    found = []
    for size in SPOT_PX:
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
        for operation in (cv2.MORPH_TOPHAT, cv2.MORPH_BLACKHAT):
            spots = cv2.morphologyEx(level, operation, disc)
            found += _quantiles(spots[inner], SPOT_QUANTILES) + _quantiles(spots[surface], SPOT_QUANTILES)
    return found


def _rings(level: Array, inner: Mask, places: Mask) -> list[float]:
    """The mean brightness at growing distances from some places; 0 where there is none."""
    if not (places & inner).any():
        return [0.0] * (len(RINGS_PX) - 1)
    distance = cv2.distanceTransform((~places).astype(np.uint8), cv2.DIST_L2, 3)
    return _means(level[inner], np.digitize(distance[inner], RINGS_PX), len(RINGS_PX) + 1)[1:-1]


def _blobs(level: Array, inner: Mask) -> list[float]:
    """How many places are brighter or darker than their surroundings, and how bright these places are."""
    shares, means = [], []
    values = level[inner]
    for scale in BLOB_PX:
        blob = (cv2.GaussianBlur(level, (0, 0), scale) - cv2.GaussianBlur(level, (0, 0), 1.6 * scale))[inner]
        shares += [float(np.mean(blob > each)) for each in BLOB_LEVELS]
        for chosen in (blob > BLOB_LEVELS[3], blob < BLOB_LEVELS[2]):
            means.append(float(values[chosen].mean()) if chosen.any() else 0.0)
    return [*shares, *means]


def _means(values: Array, groups: npt.NDArray[np.int64], count: int) -> list[float]:
    """The mean of each group of values; 0 for an empty one."""
    sums, sizes = np.bincount(groups, values, count), np.bincount(groups, minlength=count)
    return [float(each) for each in sums / np.maximum(sizes, 1)]


def _textures(level: Array, inner: Mask) -> list[float]:
    """The logarithm of the deviation and the skewness of what is between two scales."""
    found, finer = [], level
    for scale in SCALES_PX:
        coarser = cv2.GaussianBlur(finer, (0, 0), scale)
        band = (finer - coarser)[inner]
        deviation = float(band.std()) + 1e-4
        found += [float(np.log(deviation)), float(np.mean(((band - band.mean()) / deviation) ** 3))]
        finer = coarser
    return found


def _level_and_texture(level: Array, inner: Mask) -> tuple[Array, Array]:
    mean = cv2.GaussianBlur(level, (0, 0), 3)
    square = cv2.GaussianBlur(level * level, (0, 0), 3)
    return mean[inner], np.sqrt(np.maximum(square - mean * mean, 0))[inner]


def _correlation(one: Array, other: Array) -> float:
    """Pearson's correlation; 0 where one of them is flat."""
    a, b = one - one.mean(), other - other.mean()
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / norm if norm else 0.0
