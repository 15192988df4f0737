"""The actions of the Basic Application Level Confidentiality Profile: table E.1-1 of PS3.15.

The table is that of the package dicom-anonymizer (BSD).
"""

from functools import cache

from pydicom.datadict import dictionary_has_tag
from pydicom.tag import BaseTag

__all__ = ["profile_action"]

EDITION = "dicomfields_2026c"


def profile_action(tag: BaseTag) -> str:
    """X remove, Z empty, D replace, U map; an empty string where the profile keeps the attribute."""
    actions, masked = _profile()
    if tag.is_private or tag.element == 0 or not dictionary_has_tag(tag):
        return "X"
    if any(
        tag.group & groups == group & groups and tag.element & elements == element & elements
        for group, element, groups, elements in masked
    ):
        return "X"
    return actions.get((tag.group, tag.element), "")


@cache
def _profile() -> tuple[dict[tuple[int, int], str], tuple[tuple[int, int, int, int], ...]]:
    """The action for each attribute, and the masked groups to remove: X, Z, D or U."""
    from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector

    table = dicom_anonymization_database_selector(EDITION)
    lists = {
        "X_TAGS": "X",
        "Z_TAGS": "Z",
        "D_TAGS": "D",
        "U_TAGS": "U",
        "Z_D_TAGS": "D",
        "X_Z_TAGS": "Z",
        "X_D_TAGS": "D",
        "X_Z_D_TAGS": "D",
        "X_Z_U_STAR_TAGS": "U",
    }
    actions = {tuple(tag): action for name, action in lists.items() for tag in table[name] if len(tag) == 2}
    masked = tuple(tuple(tag) for tag in table["X_TAGS"] if len(tag) == 4)
    return actions, masked
