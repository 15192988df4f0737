"""Which sequence a volume is, by the name of its file or series.

The conventions are those of BraTS (`t1n`, `t1c`, `t2w`, `t2f`; `t1ce`, `flair`), BIDS (`ce-gadolinium_T1w`, `FLAIR`)
and of scanners' exports.
"""

import re
from pathlib import PurePosixPath
from typing import Literal

from metseg.contracts import Role

__all__ = ["NamedSequence", "sequence_from_name"]

NamedSequence = Role | Literal["t2", "mask"]

ENTITIES = re.compile(r"(?:^|_)(?:sub|ses|run|acq|rec|dir|echo|task)-[^_]*", re.IGNORECASE)
WORDS = re.compile(r"[a-z0-9]+")
KEYWORDS: tuple[tuple[NamedSequence, frozenset[str]], ...] = (
    ("mask", frozenset({"seg", "mask", "masks", "label", "labels", "segmentation", "consensus", "roi", "probability"})),
    ("flair", frozenset({"flair", "fla", "flr", "t2f", "t2flair", "tirm"})),
    ("pre", frozenset({"pre", "t1n", "t1pre", "precontrast", "native", "plain"})),
    (
        "post",
        frozenset(
            {"t1c", "t1ce", "t1gd", "t1post", "t1wce", "t1cw", "post", "postcontrast", "gd", "ce", "gadolinium", "gad"}
            | {"contrast", "km"}
        ),
    ),
    ("t2", frozenset({"t2", "t2w", "t2star", "t2tse"})),
    ("pre", frozenset({"t1", "t1w", "mprage"})),
)
"""In order of precedence: `t1_post` is post-contrast, `flair_mask` is a mask."""


def sequence_from_name(name: str) -> NamedSequence | None:
    """The sequence that a name indicates; None where it indicates none.

    Args:
        name: of a file, with its folders, or a series' description.
    """
    last = PurePosixPath(name.replace("\\", "/")).name
    words = set(WORDS.findall(ENTITIES.sub("_", last).lower()))
    return next((role for role, known in KEYWORDS if words & known), None)
