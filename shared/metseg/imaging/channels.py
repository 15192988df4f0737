"""The sequences of a study, and the channels that they are stored in."""

from metseg.contracts import Role

__all__ = ["CHANNELS", "FLAIR", "POST", "PRE", "ROLES", "SEQUENCE_NAMES"]

SEQUENCE_NAMES: dict[Role, str] = {"pre": "pre-contrast", "flair": "FLAIR", "post": "post-contrast"}
"""What people call each sequence, in the order of the channels."""
ROLES: tuple[Role, ...] = tuple(SEQUENCE_NAMES)
CHANNELS = tuple(SEQUENCE_NAMES.values())
PRE, FLAIR, POST = range(len(ROLES))
"""The channel of each sequence."""
