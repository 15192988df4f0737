"""OutOfDistribution: the reference that a card carries, by which a worker tells input unlike a model's training data.

The training patients give means and a covariance, the validation patients the limit; the test patients have no part
in it. Each patient is taken as it is, in thirds, and as scans come that the model does well on: without skull, turned
a little, noisy, brighter or darker, as FLAIR alone. Slices are also taken alone, as they may be uploaded, but for
those near both ends of a study, which show little of a head and would let anything pass.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from metseg.contracts import ModelCard, OutOfDistributionCard, OutOfDistributionReference, Preprocessing
from metseg.errors import DatasetError
from metseg.imaging import Preprocessor, Volume
from metseg.inference import FEATURES, FEATURES_REVISION, extract_features, flip_ratio, mahalanobis_distance
from metseg_trainer.data import dataset
from metseg_trainer.data import split as splits
from metseg_trainer.data.dataset import Patient
from metseg_trainer.evaluation import SHIFTS
from metseg_trainer.export import model_card as cards

__all__ = ["of_patients", "reference", "renew", "shrunk"]

PARTS = 3
USUAL = ("flair-only", "rotated-15", "gamma-0.7", "gamma-1.4", "noise", "stripped")
"""Keys of `SHIFTS` that must not count as unlike."""
INNER = (1 / 8, 7 / 8)
"""The slices of a study, by their place in it, that a lone slice is compared with."""
SURE = 0.99
"""The share of the validation patients' studies or slices that lie within a limit."""
FEWEST = 3
"""Patients that a limit can be chosen on."""

SUFFIX = f"-f{FEATURES_REVISION}"
"""Of a version whose card was renewed."""

Floats = npt.NDArray[np.float64]
Volumes = Iterable[Volume]


@dataclass(frozen=True, eq=False)
class _Figures:
    """What `describe` says of one patient: (variant, feature) as a study, (slice, feature) of lone slices."""

    studies: Floats
    lone: Floats


def of_patients(
    train: Sequence[Patient], validation: Sequence[Patient], preprocessing: Preprocessing
) -> OutOfDistributionCard | None:
    """The reference of some patients; None where too few validate to choose a limit on."""
    if len(validation) < FEWEST:
        return None
    return reference(_volumes(train), _volumes(validation), preprocessing)


def renew(folder: Path, patients: Sequence[Patient], seed: int) -> str:
    """Write the reference into the card of an earlier version, which becomes a version of its own: none ever changes.

    Args:
        folder: with `card.json`, as a run leaves it or as a deployment is seeded from; `model-card.md` is written anew.
        patients: the data that the version learned from.
        seed: that their split was drawn with.

    Returns:
        What was done, in a sentence.

    Raises:
        DatasetError: there is no card, the data or their split are not those of the card, or too few patients validate.
    """
    try:
        card = ModelCard.model_validate_json((folder / "card.json").read_bytes())
    except (OSError, ValidationError) as error:
        raise DatasetError(f"{folder} holds no card that this release can read.") from error
    split = splits.split(patients, seed)
    if (dataset.fingerprint(patients), splits.sha256(split)) != (card.data.sha256, card.data.split_sha256):
        raise DatasetError(f"Version {card.version} learned from other data or another split; name those it had.")
    sides = [[one for one in patients if one.id in ids] for ids in (split.train, split.validation)]
    told = of_patients(sides[0], sides[1], card.preprocessing)
    if told is None:
        raise DatasetError(f"A limit needs {FEWEST} validation patients; {len(sides[1])} are there.")
    version = f"{card.version.removesuffix(SUFFIX)}{SUFFIX}"
    card = card.model_copy(update={"version": version, "familiarity": told})
    (folder / "card.json").write_text(card.model_dump_json(indent=2))
    (folder / cards.MARKDOWN).write_text(cards.markdown(card))
    return f"Version {version} tells input unlike what it learned from."


def reference(learned: Volumes, judged: Volumes, preprocessing: Preprocessing) -> OutOfDistributionCard:
    """What a card holds.

    Args:
        learned: the training patients.
        judged: the validation patients, at least `FEWEST`.
        preprocessing: of the model.
    """
    train, validation = ([_figures(volume, preprocessing) for volume in side] for side in (learned, judged))
    return OutOfDistributionCard(
        revision=FEATURES_REVISION,
        studies=_reference([one.studies for one in train], [one.studies for one in validation]),
        lone_slices=_reference([one.lone for one in train], [one.lone for one in validation]),
    )


def shrunk(rows: Floats) -> Floats:
    """The covariance of (sample, feature), shrunk towards a sphere by the oracle approximating estimator.

    Chen, Wiesel, Eldar, Hero: Shrinkage Algorithms for MMSE Covariance Estimation, IEEE Trans. Signal Processing
    2010;58:5016-29, equation 23.
    """
    count, features = rows.shape
    raw = np.cov(rows, rowvar=False, bias=True)
    trace, squares = float(np.trace(raw)), float((raw * raw).sum())
    above = (1 - 2 / features) * squares + trace**2
    below = (count + 1 - 2 / features) * (squares - trace**2 / features)
    share = 1.0 if below <= 0 else min(1.0, above / below)
    return np.asarray((1 - share) * raw + share * trace / features * np.eye(features))


def _volumes(patients: Sequence[Patient]) -> Iterator[Volume]:
    return (dataset.load(patient)[0] for patient in patients)


def _figures(volume: Volume, preprocessing: Preprocessing) -> _Figures:
    def told(one: Volume) -> npt.NDArray[np.floating]:
        return extract_features(Preprocessor(preprocessing).prepare(one), preprocessing.pixel_scale)

    first, stop = (round(end * len(volume.names)) for end in INNER)
    lone = [told(one) for one in islice(volume.single_slices(), first, max(stop, first + 1)) if one is not None]
    return _Figures(np.array([told(one) for one in _variants(volume)]), np.array(lone))


def _variants(volume: Volume) -> Iterator[Volume]:
    yield volume
    slices = len(volume.names)
    if slices >= 2 * PARTS:
        for part in range(PARTS):
            yield volume.part(slice(slices * part // PARTS, slices * (part + 1) // PARTS))
    nothing = np.zeros(volume.shape, bool)
    for key in USUAL:
        yield SHIFTS[key].apply(volume, nothing)[0]


def _reference(train: Sequence[Floats], validation: Sequence[Floats]) -> OutOfDistributionReference:
    """Means and covariance of the training patients' (sample, feature), limits of the validation patients'."""
    rows, judged = np.vstack([one for one in train if len(one)]), np.vstack([one for one in validation if len(one)])
    mean, scale = rows.mean(axis=0), np.maximum(rows.std(axis=0), 1e-3)
    told = OutOfDistributionReference(
        features=list(FEATURES),
        mean=[_rounded(value) for value in mean],
        scale=[_rounded(value) for value in scale],
        precision=[[_rounded(value) for value in row] for row in np.linalg.inv(shrunk((rows - mean) / scale))],
        limit=1,
        turned_limit=1,
        learned=len(rows),
        judged=len(judged),
        false_alarms=0,
    )
    far, upside_down = (
        np.array([measure(figures, told) for figures in judged]) for measure in (mahalanobis_distance, flip_ratio)
    )
    limit, turned_limit = _rounded(np.quantile(far, SURE)), _rounded(_between(np.quantile(upside_down, SURE)))
    beyond = float(((far > limit) | (upside_down > turned_limit)).mean())
    return told.model_copy(update={"limit": limit, "turned_limit": turned_limit, "false_alarms": beyond})


def _between(upright: float) -> float:
    """A limit of how turned an input is, which nearly all are below.

    A mirrored input is turned by the inverse, so where nearly all upright ones are below 1, the limit is what nearly
    all mirrored ones are above.
    """
    return max(upright, 1 / upright)


def _rounded(value: float) -> float:
    """Six digits: more would tell of the machine alone."""
    return float(f"{value:.6g}")
