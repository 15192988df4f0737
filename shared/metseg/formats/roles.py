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
from metseg.formats.words import contrast_of, is_quantitative, normalise, weighting_of, without_treatment
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
ENTITIES = re.compile(r"(?:^|_)(?:sub|ses|run|acq|rec|dir|echo|task|space|desc|res)-[^_]*", re.IGNORECASE)
SUFFIXES = re.compile(r"(?:\.(?:nii|gz|nrrd|nhdr|mha|mhd|z?raw|png|jpe?g|tiff?|dcm|zip))+$", re.IGNORECASE)
REGISTERED = re.compile(
    r"(?<=\w) (?:(?:co)?reg(?:istered)?(?: to)?|to|in|on|onto|2) ?(?:t1\w*|t2\w*|flair|mprage)(?: space)?(?!\w)"
)
"""The target of a registration (`flair_to_t1`), which is not the sequence."""
TOKENS = re.compile(r"[a-z0-9]+")
MASKS = frozenset(
    {"seg", "mask", "masks", "label", "labels", "segmentation", "consensus", "roi", "probability", "groundtruth", "gt"}
    | {"segm", "segmentations", "labelmap", "annotation", "annotations", "maske", "masque", "gtv", "ctv", "ptv"}
)
FLAIRS = frozenset({"fla", "flr", "t2f"})
OTHERS = frozenset(
    {"adc", "eadc", "dwi", "dti", "diff", "diffusion", "trace", "b0", "b1000", "swi", "swan", "bold", "fmri", "perf"}
    | {"perfusion", "dsc", "dce", "cbv", "cbf", "asl", "tof", "mra", "mrv", "mip", "minip", "phase", "pd", "pdw"}
    | {"stir", "epi", "ep2d", "fa", "mtr", "qsm", "ktrans", "subtraction", "scout", "localizer", "localiser", "survey"}
    | {"ciss", "fiesta", "haste"}
)
CONTRAST: dict[Role, frozenset[str]] = {
    "pre": frozenset({"pre", "t1n", "t1pre", "precontrast", "native", "plain"}),
    "post": frozenset(
        {"t1c", "t1ce", "t1gd", "t1post", "t1wce", "t1cw", "post", "postcontrast", "gd", "ce", "gadolinium", "gad"}
        | {"contrast", "km"}
    ),
}


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
    named = path.name if role_from_name(path.name) else path.parent.name
    role, words = role_from_name(named), _words(named)
    says_pre = contrast_of(words) is False or CONTRAST["pre"] & set(TOKENS.findall(words))
    return None if role == "pre" and not says_pre else role


def sequence_from_name(name: str) -> NamedSequence | None:
    """The sequence that a name indicates; None where it indicates none.

    A mask is one whatever it is of (`flair_mask`), and a T1 or FLAIR is one with contrast, too (`flair_post`).

    Args:
        name: of a file or folder, with its folders.
    """
    words = _words(name)
    tokens = set(TOKENS.findall(without_treatment(words)))
    if tokens & MASKS:
        return "mask"
    weighting = weighting_of(words)
    if weighting == "flair" or tokens & FLAIRS:
        return "flair"
    if tokens & OTHERS or is_quantitative(words):
        return "other"
    if weighting == "t2":
        return "t2"
    by_token = next((role for role, known in CONTRAST.items() if tokens & known), None)
    if weighting != "t1" and by_token is None:
        return None
    contrast = contrast_of(words)
    return (by_token or "pre") if contrast is None else "post" if contrast else "pre"


def _words(name: str) -> str:
    """The words of a name without what is no sequence: folders, suffixes, BIDS's entities, targets of registrations."""
    last = PurePosixPath(name.replace("\\", "/")).name
    return REGISTERED.sub("", normalise(ENTITIES.sub("_", SUFFIXES.sub("", last))))


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
