"""Which sequence a volume is, by what its file or its series is called.

Names are guesses that people make of them all the same: BraTS (`t1n`, `t1c`, `t2w`, `t2f`; `t1ce`, `flair`), BIDS
(`ce-gadolinium_T1w`, `FLAIR`) and what scanners' exports are called.
"""

import re
from pathlib import PurePosixPath
from typing import Literal

from metseg.contracts import Role

__all__ = ["Named", "role_of"]

Named = Role | Literal["t2", "mask"]

ENTITIES = re.compile(r"(?:^|_)(?:sub|ses|run|acq|rec|dir|echo|task)-[^_]*", re.IGNORECASE)
WORDS = re.compile(r"[a-z0-9]+")
TOLD: tuple[tuple[Named, frozenset[str]], ...] = (
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
"""In the order in which they are asked for: `t1_post` is post-contrast, `flair_mask` is a mask."""


def role_of(name: str) -> Named | None:
    """The sequence that a name tells; None where it tells none.

    Args:
        name: of a file, with its folders, or a series' description.
    """
    last = PurePosixPath(name.replace("\\", "/")).name
    words = set(WORDS.findall(ENTITIES.sub("_", last).lower()))
    return next((role for role, known in TOLD if words & known), None)
