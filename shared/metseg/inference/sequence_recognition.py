"""Which sequence a grey image is whose submitter, name and header do not say.

A small network judges a few slices. It abstains where it is not sure: a guess that is wrong would be segmented as what
it is not.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from metseg.contracts import IdentifiedSequence, Role
from metseg.errors import UnknownSequence
from metseg.imaging import FLAIR, MISSING_SEQUENCE, ROLES, SEQUENCE_NAMES, Array, Volume
from metseg.inference.sequence_model import SEQUENCE_CLASSES, SequenceClass, SequenceModel, extract_head

__all__ = ["Recognition", "identify_sequence", "recognise_sequence"]

JUDGED_SLICES, INDEPENDENT_SLICES = 5, 3
"""Of a study. Its slices resemble each other, so that the five count as three that do not."""
MIDDLE = (0.3, 0.75)
"""The part of a study, from its first slice, in which slices are judged: its ends show no brain."""
MAX_LABELS = 12
"""An image with no more different values is a label map."""
MAX_PROBABILITY = 0.02
"""Of the sequence that an image is said to be, where a warning says that it looks like another one."""
MIN_T1_PROBABILITY = 0.9
"""With or without contrast agent, for the words of a refusal."""
NAMES: dict[SequenceClass, str] = {
    "pre": "a T1 without contrast agent",
    "flair": "a FLAIR",
    "post": "a T1 with contrast agent",
    "t2": "a T2",
    "other": "another picture",
}
WHAT_TO_DO = "If it is a FLAIR or a T1, submit it again with its `sequence`: `pre`, `flair` or `post`."


@dataclass(frozen=True)
class Recognition:
    """What an image looks like.

    Attributes:
        probabilities: by class.
        is_certain: whether the likeliest class reaches the limit.
        labels: how many different values it has, if these are so few that it is a label map.
    """

    probabilities: Mapping[SequenceClass, float]
    is_certain: bool
    labels: int | None = None

    @property
    def likeliest(self) -> SequenceClass:
        """The class with the highest probability."""
        return max(self.probabilities, key=self.probabilities.__getitem__)

    @property
    def role(self) -> Role | None:
        """The sequence, if it is certain and one that the model uses."""
        return next((role for role in ROLES if role == self.likeliest and self.is_certain), None)


def recognise_sequence(pixels: Array, model: SequenceModel | None = None) -> Recognition:
    """Recognise the sequence of an image by a few of its slices.

    Args:
        pixels: (slice, row, column), of any number type.
        model: None: the bundled one.

    Returns:
        What it looks like; `other`, with certainty, where no slice shows anything.
    """
    model = model or SequenceModel.bundled()
    first, last = (round(share * (len(pixels) - 1)) for share in MIDDLE)
    chosen = np.unique(np.linspace(first, last, JUDGED_SLICES).round().astype(int))
    labels = len(np.unique(pixels[chosen]))
    heads = [head for one in chosen if (head := extract_head(pixels[one])) is not None]
    if labels <= MAX_LABELS or not heads:
        return Recognition({"other": 1.0}, is_certain=True, labels=labels if labels <= MAX_LABELS else None)
    scores = model.log_probabilities(np.stack(heads)).mean(axis=0)
    scores *= 1 + (INDEPENDENT_SLICES - 1) * (len(heads) - 1) / (JUDGED_SLICES - 1)
    shares = np.exp(scores - scores.max())
    probabilities = dict(zip(SEQUENCE_CLASSES, (shares / shares.sum()).tolist(), strict=True))
    limit = model.card.slice_limit if len(heads) == 1 else model.card.study_limit
    return Recognition(probabilities, max(probabilities.values()) >= limit)


def identify_sequence(volume: Volume) -> Volume:
    """Recognise the sequence of a study of one image of which nothing is known; check what is said of others.

    Returns:
        The study with its sequence, or as it was, with a warning for each image that looks like another sequence.

    Raises:
        UnknownSequence: the image is not recognised as one of the sequences that the model uses.
    """
    if volume.identified:
        return replace(volume, warnings=(*volume.warnings, *_contradictions(volume)))
    found = recognise_sequence(volume.pixels[..., FLAIR])
    if found.role is None:
        raise UnknownSequence(f"{_refusal(found)} {WHAT_TO_DO}")
    return _with_sequence(volume, found.role, found.probabilities[found.role])


def _with_sequence(volume: Volume, role: Role, probability: float) -> Volume:
    percent = f"{min(100 * probability, 99.9):.3g} %"
    sequences = {
        each: f"{source}, recognised by its pixels ({percent})" if each == role else MISSING_SEQUENCE
        for each, source in volume.sequences.items()
    }
    warning = (
        f"The image was recognised as {NAMES[role]} by its pixels (probability {percent}). If it is another sequence, "
        "submit it again and say which."
    )
    pre, flair, post = (each == role for each in ROLES)
    return replace(
        volume,
        sequences=sequences,
        identified={role: IdentifiedSequence(by="recognised", probability=probability)},
        present=(pre, flair, post),
        warnings=(*volume.warnings, warning),
    )


def _contradictions(volume: Volume) -> list[str]:
    """A warning for each image that looks like another sequence than it is said to be; colours are not doubted."""
    warnings = []
    for role, identified in volume.identified.items():
        if identified.by == "place":
            continue
        found = recognise_sequence(volume.pixels[..., ROLES.index(role)])
        if found.is_certain and found.likeliest != "other" and found.probabilities[role] < MAX_PROBABILITY:
            warnings.append(
                f"The {SEQUENCE_NAMES[role]} image looks like {NAMES[found.likeliest]}; check which sequence it is."
            )
    return warnings


def _refusal(found: Recognition) -> str:
    """What is wrong with an image that is not recognised; its file's name may be a patient's, so it is not named."""
    t1 = found.probabilities.get("pre", 0) + found.probabilities.get("post", 0)
    if found.labels is not None:
        return f"The image looks like a mask: it has only {found.labels} different values."
    if found.likeliest == "t2" and found.is_certain:
        return "The image looks like a T2, which the model does not use."
    if found.likeliest == "other" and found.is_certain:
        return "The image looks like none of the sequences that the model uses."
    if t1 > MIN_T1_PROBABILITY:
        return "The image looks like a T1, but it is not clear whether a contrast agent was given."
    return "It is not clear which sequence the image is."
