"""Out of distribution: the reference in a model card, by which a worker detects input unlike the training data.

The training patients give means and a covariance, the validation patients the limits; the test patients are not
used. For upside-down single slices the validation patients are too few, so the training patients help, each compared
with a reference of the others. Each patient is used whole, in thirds, and after corruptions that the model tolerates:
without skull, slightly rotated, noisy, brighter or darker, FLAIR alone. Slices are also used alone, as they may be
uploaded, except for those near both ends of a study, which show so little of a head that the limit would exclude
nothing. Each sequence has a reference; except for FLAIR, it is of studies that show this sequence alone. A data set of
single slices of post-contrast T1 takes part in that sequence's reference of single slices.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from metseg.contracts import (
    OutOfDistributionCard,
    OutOfDistributionReference,
    Preprocessing,
    Role,
    SequenceReferences,
)
from metseg.errors import DatasetError, ModelRejected, NotFound
from metseg.imaging import ROLES, Float64Array, Preprocessor, Volume
from metseg.inference import FEATURES, FEATURES_REVISION, extract_features, flip_ratio, mahalanobis_distance
from metseg.registry import read_card
from metseg_trainer.data import Patient, fingerprint, load_patient, split_patients, split_sha256
from metseg_trainer.evaluation import CORRUPTIONS, show_only
from metseg_trainer.export.model_card import save_card

__all__ = ["build_reference", "oas_covariance", "reference_from_patients", "update_card"]

PARTS = 3
TOLERATED = ("rotated-15", "gamma-0.7", "gamma-1.4", "noise", "stripped")
"""Keys of `CORRUPTIONS` that must not count as out of distribution."""
INNER = (1 / 8, 7 / 8)
"""The slices of a study, as shares of its height, with which a single slice is compared."""
COVERAGE = 0.99
"""The share of the validation patients' studies or slices within a limit."""
FOLDS = 7
"""Parts of the training patients, each held out once."""
MIN_VALIDATION_PATIENTS = 3
"""The number of validation patients that a limit needs."""

SUFFIX = f"-f{FEATURES_REVISION}"
"""The suffix of a version whose card was updated."""


Volumes = Iterable[Volume]


@dataclass(frozen=True, eq=False)
class _Features:
    """The features of a sequence of one patient: (variant, feature) as a study, (slice, feature) of single slices."""

    studies: Float64Array
    single: Float64Array


def reference_from_patients(
    train: Sequence[Patient],
    validation: Sequence[Patient],
    preprocessing: Preprocessing,
    post_slices: tuple[Volumes, Volumes] = ((), ()),
) -> OutOfDistributionCard | None:
    """The references for a model card.

    Args:
        train: the training patients.
        validation: the validation patients.
        preprocessing: of the model.
        post_slices: single slices of post-contrast T1 that the model was trained and validated on.

    Returns:
        None if there are too few validation patients for a limit.
    """
    if len(validation) < MIN_VALIDATION_PATIENTS:
        return None
    return build_reference(_volumes(train), _volumes(validation), preprocessing, post_slices)


def update_card(folder: Path, patients: Sequence[Patient], seed: int) -> str:
    """Write the reference into the card of an earlier version, which becomes a new version: versions never change.

    Args:
        folder: with `card.json`, of a run or of a starter model; `model-card.md` is rewritten.
        patients: the data that the version was trained on.
        seed: of their split.

    Returns:
        A sentence on what was done.

    Raises:
        DatasetError: there is no card, the data or their split differ from the card's, or there are too few
            validation patients.
    """
    try:
        card = read_card(folder)
    except (NotFound, ModelRejected) as error:
        raise DatasetError(f"{folder} holds no card that this release can read.") from error
    split = split_patients(patients, seed)
    if (fingerprint(patients), split_sha256(split)) != (card.data.sha256, card.data.split_sha256):
        raise DatasetError(
            f"Version {card.version} was trained on other data or with another split; name those of its training."
        )
    sides = [[one for one in patients if one.id in ids] for ids in (split.train, split.validation)]
    reference = reference_from_patients(sides[0], sides[1], card.preprocessing)
    if reference is None:
        raise DatasetError(f"A limit needs {MIN_VALIDATION_PATIENTS} validation patients; there are {len(sides[1])}.")
    version = f"{card.version.removesuffix(SUFFIX)}{SUFFIX}"
    card = card.model_copy(update={"version": version, "familiarity": reference})
    save_card(folder, card)
    return f"Version {version} detects input unlike its training data."


def build_reference(
    train: Volumes,
    validation: Volumes,
    preprocessing: Preprocessing,
    post_slices: tuple[Volumes, Volumes] = ((), ()),
) -> OutOfDistributionCard:
    """The references of studies and of single slices, by sequence.

    Args:
        train: the training patients.
        validation: the validation patients, at least `MIN_VALIDATION_PATIENTS`.
        preprocessing: of the model.
        post_slices: single slices of post-contrast T1 for training and validation, each of another patient.

    Returns:
        Means, precision matrices and limits of each sequence that enough patients have.
    """
    learned, judged = ([_by_sequence(volume, preprocessing) for volume in side] for side in (train, validation))
    single = [[_described(one, "post", preprocessing)[None] for one in side] for side in post_slices]
    references = {}
    for role in ROLES:
        first, second = ([one[role] for one in side if role in one] for side in (learned, judged))
        if first and len(second) >= MIN_VALIDATION_PATIENTS:
            slices: list[list[Float64Array]] = [[one.single for one in side] for side in (first, second)]
            if role == "post":
                slices = [[*own, *others] for own, others in zip(slices, single, strict=True)]
            references[role] = SequenceReferences(
                studies=_reference([one.studies for one in first], [one.studies for one in second]),
                lone_slices=_reference(*slices, hold_out=True),
            )
    return OutOfDistributionCard(revision=FEATURES_REVISION, sequences=references)


def oas_covariance(rows: Float64Array) -> Float64Array:
    """The covariance of (sample, feature), shrunk towards a sphere by the oracle approximating estimator.

    Chen, Wiesel, Eldar, Hero: Shrinkage Algorithms for MMSE Covariance Estimation, IEEE Trans. Signal Processing
    2010;58:5016-29, equation 23. scikit-learn's OAS leaves out terms of that equation; with it, the cards of earlier
    versions could not be reproduced.
    """
    count, features = rows.shape
    raw = np.cov(rows, rowvar=False, bias=True)
    trace, squares = float(np.trace(raw)), float((raw * raw).sum())
    above = (1 - 2 / features) * squares + trace**2
    below = (count + 1 - 2 / features) * (squares - trace**2 / features)
    share = 1.0 if below <= 0 else min(1.0, above / below)
    return np.asarray((1 - share) * raw + share * trace / features * np.eye(features))


def _volumes(patients: Sequence[Patient]) -> Iterator[Volume]:
    return (load_patient(patient)[0] for patient in patients)


def _by_sequence(volume: Volume, preprocessing: Preprocessing) -> dict[Role, _Features]:
    """The features of each sequence that a patient has."""
    roles = (role for role, present in zip(ROLES, volume.present, strict=True) if present)
    return {role: _features(volume, role, preprocessing) for role in roles}


def _features(volume: Volume, role: Role, preprocessing: Preprocessing) -> _Features:
    alone = show_only(volume, ROLES.index(role))
    first, stop = (round(end * len(volume.names)) for end in INNER)
    slices = islice((volume if role == "flair" else alone).single_slices(), first, max(stop, first + 1))
    single = [_described(one, role, preprocessing) for one in slices if one is not None]
    variants = [volume, *_variants(volume), alone] if role == "flair" else [alone, *_variants(alone)]
    return _Features(np.array([_described(one, role, preprocessing) for one in variants]), np.array(single))


def _described(volume: Volume, role: Role, preprocessing: Preprocessing) -> Float64Array:
    features = extract_features(Preprocessor(preprocessing).prepare(volume), role, preprocessing.pixel_scale)
    return np.asarray(features, np.float64)


def _variants(volume: Volume) -> Iterator[Volume]:
    """The thirds of a study, and the study after tolerated corruptions."""
    slices = len(volume.names)
    if slices >= 2 * PARTS:
        for part in range(PARTS):
            yield volume.part(slice(slices * part // PARTS, slices * (part + 1) // PARTS))
    no_lesion = np.zeros(volume.shape, bool)
    for key in TOLERATED:
        yield CORRUPTIONS[key].apply(volume, no_lesion)[0]


def _reference(
    train: Sequence[Float64Array], validation: Sequence[Float64Array], *, hold_out: bool = False
) -> OutOfDistributionReference:
    """Means and covariance of the training patients' (sample, feature), limits of the validation patients'.

    With `hold_out`, the limit of flips is also that of the training patients.
    """
    reference, judged = _fit(train), np.vstack([one for one in validation if len(one)])
    distances, turns = (
        np.array([measure(features, reference) for features in judged])
        for measure in (mahalanobis_distance, flip_ratio)
    )
    upright = [*turns, *_held_out_turns(train)] if hold_out else turns
    limit, turned_limit = _rounded(np.quantile(distances, COVERAGE)), _rounded(_between(np.quantile(upright, COVERAGE)))
    false_alarms = float(((distances > limit) | (turns > turned_limit)).mean())
    return reference.model_copy(
        update={"limit": limit, "turned_limit": turned_limit, "judged": len(judged), "false_alarms": false_alarms}
    )


def _held_out_turns(patients: Sequence[Float64Array]) -> Iterator[float]:
    """The flip ratio of every sample by a reference of other patients."""
    for fold in range(min(FOLDS, len(patients))):
        reference = _fit([one for index, one in enumerate(patients) if index % FOLDS != fold])
        yield from (flip_ratio(features, reference) for one in patients[fold::FOLDS] for features in one)


def _fit(patients: Sequence[Float64Array]) -> OutOfDistributionReference:
    """Means and covariance of patients' (sample, feature), without limits."""
    rows = np.vstack([one for one in patients if len(one)])
    mean, scale = rows.mean(axis=0), np.maximum(rows.std(axis=0), 1e-3)
    return OutOfDistributionReference(
        features=list(FEATURES),
        mean=[_rounded(value) for value in mean],
        scale=[_rounded(value) for value in scale],
        precision=[[_rounded(value) for value in row] for row in np.linalg.inv(oas_covariance((rows - mean) / scale))],
        limit=1,
        turned_limit=1,
        learned=len(rows),
        judged=1,
        false_alarms=0,
    )


def _between(upright: float) -> float:
    """A limit above nearly all upright inputs.

    A mirrored input has the inverse, so if nearly all upright ones are below 1, the limit is below nearly all
    mirrored ones.
    """
    return max(upright, 1 / upright)


def _rounded(value: float) -> float:
    """Six digits: further ones differ between machines."""
    return float(f"{value:.6g}")
