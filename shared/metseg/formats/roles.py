"""Which sequence a volume is, by the name of its file or series.

The conventions are those of BraTS (`t1n`, `t1c`, `t2w`, `t2f`; `t1ce`, `flair`), BIDS (`ce-gadolinium_T1w`, `FLAIR`)
and of scanners' exports.
"""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Literal

from metseg.contracts import Role
from metseg.errors import UnusableImage
from metseg.imaging import ROLES

__all__ = [
    "UNUSED_SEQUENCES",
    "NamedSequence",
    "refuse_unused",
    "role_from_name",
    "role_of_slices",
    "sequence_from_name",
]

NamedSequence = Role | Literal["t2", "mask", "other"]

UNUSED_SEQUENCES: dict[str, str] = {"t2": "T2", "mask": "segmentation", "other": "another sequence"}
"""Images that a name may indicate and the model does not use, as text."""
ENTITIES = re.compile(r"(?:^|_)(?:sub|ses|run|acq|rec|dir|echo|task)-[^_]*", re.IGNORECASE)
WORDS = re.compile(r"[a-z0-9]+")
PRE_CONTRAST = frozenset({"pre", "t1n", "t1pre", "precontrast", "native", "plain"})
PLAIN_T1 = frozenset({"t1", "t1w", "mprage"})
KEYWORDS: tuple[tuple[NamedSequence, frozenset[str]], ...] = (
    (
        "mask",
        frozenset({"seg", "mask", "masks", "label", "labels", "segmentation", "consensus", "roi", "probability"})
        | {"segm", "segmentations", "labelmap", "annotation", "annotations", "maske", "masque", "gtv", "ctv", "ptv"},
    ),
    ("flair", frozenset({"flair", "fla", "flr", "t2f", "t2flair", "tirm"})),
    (
        "other",
        frozenset(
            {"adc", "eadc", "dwi", "dti", "diff", "diffusion", "trace", "b0", "b1000", "swi", "swan", "bold", "fmri"}
        )
        | {
            "perf",
            "perfusion",
            "dsc",
            "dce",
            "cbv",
            "cbf",
            "asl",
            "tof",
            "mra",
            "mrv",
            "mip",
            "phase",
            "pd",
            "pdw",
            "stir",
        },
    ),
    ("pre", PRE_CONTRAST),
    (
        "post",
        frozenset(
            {"t1c", "t1ce", "t1gd", "t1post", "t1wce", "t1cw", "post", "postcontrast", "gd", "ce", "gadolinium", "gad"}
            | {"contrast", "km"}
        ),
    ),
    ("t2", frozenset({"t2", "t2w", "t2star", "t2tse"})),
    ("pre", PLAIN_T1),
)
"""In order of precedence: `t1_post` is post-contrast, `flair_mask` is a mask."""


def role_of_slices(names: Sequence[str]) -> Role | None:
    """The role that the names of all slices of a grey series, or else their folders, indicate; None for no role.

    A plain `t1` is no role: slices from before and from after contrast are called so.

    Args:
        names: of the files, with their folders.
    """
    roles = {_role_of_slice(name.replace("\\", "/")) for name in names}
    return roles.pop() if len(roles) == 1 else None


def _role_of_slice(name: str) -> Role | None:
    path = PurePosixPath(name)
    role = role_from_name(path.name) or role_from_name(path.parent.name)
    words = set(WORDS.findall(name.lower()))
    return None if role == "pre" and words & PLAIN_T1 and not words & PRE_CONTRAST else role


def sequence_from_name(name: str) -> NamedSequence | None:
    """The sequence that a name indicates; None where it indicates none.

    Args:
        name: of a file, with its folders, or a series' description.
    """
    last = PurePosixPath(name.replace("\\", "/")).name
    words = set(WORDS.findall(ENTITIES.sub("_", last).lower()))
    return next((role for role, known in KEYWORDS if words & known), None)


def role_from_name(name: str) -> Role | None:
    """The role that a name indicates; None for a sequence that the model does not use, and for no sequence.

    Args:
        name: see `sequence_from_name`.
    """
    sequence = sequence_from_name(name)
    return next((role for role in ROLES if role == sequence), None)


def refuse_unused(names: Sequence[str]) -> None:
    """Refuse files that are the only ones of a study, and all named as images that the model does not use.

    Raises:
        UnusableImage: they are; a field by role overrules their names.
    """
    found = {sequence_from_name(name) for name in names}
    kinds = [kind for sequence, kind in UNUSED_SEQUENCES.items() if sequence in found]
    if kinds and len(kinds) == len(found):
        raise UnusableImage(
            f"The name indicates an image that the model does not use ({', '.join(kinds)}). If the file is a T1 or "
            "FLAIR, send it in the field pre, flair or post."
        )
