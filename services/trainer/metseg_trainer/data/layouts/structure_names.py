"""The meaning of a label by its name: `edema`, `GTV 1`, `Enhancing tumour`, `whole tumor`."""

import re
from collections.abc import Mapping
from typing import Literal

from metseg_trainer.data.layouts.studies import Label, Labels, StructureLabels

__all__ = ["labels_from_names", "structure_from_name"]

Meaning = Literal["whole", "surrounding", "core", "neither"]

# In order of precedence: `non-enhancing FLAIR hyperintensity` surrounds the core, `non-enhancing tumour` is part of it.
PATTERNS: tuple[tuple[Meaning, str], ...] = (
    ("neither", r"background|unlabell?ed|resection|cavity|\brc\b|brain ?stem|brain ?mask|\bbrain\b$|normal|organ"),
    ("whole", r"whole|\bwt\b|tumou?r and (?:o?edema)|flair abnormality"),
    ("surrounding", r"o?edema|\bed\b|\bsnfh\b|flair|peritumou?r|infiltrat"),
    ("core", r"\bcore\b|\btc\b|\bgtv|metasta|\bmets?\d*\b|\bbm\d*\b|enhanc|\bet\b|necro|\bncr\b|\bnetc?\b|\bcyst"),
)


def structure_from_name(name: str) -> Meaning | None:
    """The meaning of a label's name; None if it is ambiguous, like `tumour` and `lesion`.

    `core` is part of the tumour core, `surrounding` the FLAIR abnormality around it, `whole` both.
    """
    words = " ".join(re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()))
    return next((meaning for meaning, pattern in PATTERNS if re.search(pattern, words)), None)


def labels_from_names(names: Mapping[str, frozenset[Label]], *, others_ignored: bool = False) -> StructureLabels:
    """Map labels to structures by their names.

    Args:
        names: the labels of each name; nested regions have several.
        others_ignored: labels not named here are not of the tumour, like the organs of a radiotherapy plan.

    Returns:
        The meaning of the labels, or a question if a name is ambiguous.
    """
    meanings = {name: structure_from_name(name) for name in names}
    open_names = [name for name, meaning in meanings.items() if meaning is None]
    by_meaning = {
        wanted: frozenset[Label]().union(*(names[name] for name, meaning in meanings.items() if meaning == wanted))
        for wanted in ("whole", "surrounding", "core", "neither")
    }
    core: Labels = by_meaning["core"] or None
    whole: Labels = None
    if by_meaning["whole"] or (by_meaning["surrounding"] and core is not None):
        whole = by_meaning["whole"] | by_meaning["surrounding"] | by_meaning["core"]
    question = None
    if open_names or (core is None and whole is None):
        unclear = ", ".join(sorted(open_names or names)) or "none"
        question = f"the meaning of its labels is open ({unclear}): say in a labels.yaml which are core and whole"
    return StructureLabels(core, whole, by_meaning["neither"], others_ignored=others_ignored, question=question)
