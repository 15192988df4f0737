"""Sequences that were taken for one another, put into their channels."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from metseg.contracts import IdentifiedSequence, Role
from metseg.errors import InvalidParameter
from metseg.formats.sequences import missing_sequence_warning, reference_role
from metseg.imaging import MISSING_SEQUENCE, ROLES, SEQUENCE_NAMES, Volume

__all__ = ["exchange_sequences"]

WARNINGS = frozenset(map(missing_sequence_warning, ROLES))


def exchange_sequences(volume: Volume, exchanged: Mapping[Role, Role]) -> Volume:
    """The study with its images as the sequences that a reader says they are.

    The grid stays that of the image that was taken for the reference.

    Args:
        volume: as read; its pixels are reordered in place if they can be written.
        exchanged: what an image is, by what it was taken for; others stay.

    Returns:
        The study.

    Raises:
        InvalidParameter: two images would be the same sequence, or the study has one image of unknown sequence.
    """
    if not exchanged:
        return volume
    taken_for = {exchanged.get(role, role): role for role in volume.identified}
    if not taken_for or len(taken_for) < len(volume.identified):
        raise InvalidParameter("`exchanged` would make two images the same sequence, or it names none of this study.")
    base = next(role for role in ROLES if role == reference_role(list(taken_for)))
    sources = {role: taken_for.get(role, taken_for[base]) for role in ROLES}
    order = [ROLES.index(sources[role]) for role in ROLES]
    pixels = volume.pixels if volume.pixels.flags.writeable else np.array(volume.pixels)
    for page in pixels:
        page[...] = page[..., order]
    pre, flair, post = (role in taken_for for role in ROLES)
    stated = IdentifiedSequence(by="stated")
    missing = [missing_sequence_warning(role) for role in ROLES if role not in taken_for]
    return replace(
        volume,
        pixels=pixels,
        present=(pre, flair, post),
        identified={role: volume.identified[old] if role == old else stated for role, old in taken_for.items()},
        sequences={role: _describe(volume, role, taken_for) for role in ROLES} if volume.sequences else {},
        alignment=tuple(
            each.model_copy(update={"role": exchanged.get(each.role, each.role)}) for each in volume.alignment
        ),
        warnings=(*(each for each in volume.warnings if each not in WARNINGS), *missing),
    )


def _describe(volume: Volume, role: Role, taken_for: Mapping[Role, Role]) -> str:
    """What a channel was made from."""
    if role not in taken_for:
        return MISSING_SEQUENCE
    old = taken_for[role]
    change = "" if old == role else f", taken for {SEQUENCE_NAMES[old]} at first"
    return f"{volume.sequences[old]}{change}"
