"""The sequences of a study, and the channels that they are stored in."""

from metseg.contracts import Role

__all__ = ["CHANNELS", "FLAIR", "ROLES", "SEQUENCE_NAMES"]

SEQUENCE_NAMES: dict[Role, str] = {"pre": "pre-contrast", "flair": "FLAIR", "post": "post-contrast"}
"""What people call each sequence, in the order of the channels."""
ROLES: tuple[Role, ...] = tuple(SEQUENCE_NAMES)
CHANNELS = tuple(SEQUENCE_NAMES.values())
FLAIR = ROLES.index("flair")
"""The channel of FLAIR."""
