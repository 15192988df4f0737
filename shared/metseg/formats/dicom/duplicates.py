"""Files that were sent more than once: the same positions and pixels, whatever their identifiers.

An identifier proves nothing: some exporters and anonymisers give one SOPInstanceUID to every file, or a new one to
each copy.
"""

import hashlib
from collections import Counter
from collections.abc import Hashable, Sequence

from metseg.formats.dicom.instances import Instance
from metseg.formats.dicom.safe_read import DAMAGED_PIXELS, read_with_pixels, translate_errors

__all__ = ["without_duplicates"]

PIXELS = ("PixelData", "FloatPixelData")


def without_duplicates(instances: Sequence[Instance]) -> tuple[list[Instance], list[str]]:
    """Each image once, however often its file was sent.

    Pixels are compared only where positions and size are equal.

    Returns:
        The instances in their order, and warnings of what was dropped and of shared identifiers.

    Raises:
        UnreadableImage: the pixels of a file that must be compared are damaged.
    """
    places = Counter(map(_place, instances))
    kept: dict[Hashable, Instance] = {}
    for index, instance in enumerate(instances):
        place = _place(instance)
        key: Hashable = (place, _pixel_digest(instance)) if places[place] > 1 else index
        kept.setdefault(key, instance)
    unique = list(kept.values())
    warnings = []
    if duplicates := len(instances) - len(unique):
        warnings.append(f"Files that were sent twice were read once: {duplicates}.")
    shared = sum(count for uid, count in Counter(each.uid for each in unique).items() if uid and count > 1)
    if shared:
        warnings.append(
            f"Different images share an identifier (SOPInstanceUID): {shared}. They were distinguished by position "
            "and pixels; a viewer may not display the DICOM results on them."
        )
    return unique, warnings


def _place(instance: Instance) -> Hashable:
    """What equal files have in common, by their headers; identifiers are not part of it."""
    frames = tuple((frame.position, frame.orientation, frame.spacing_mm) for frame in instance.frames)
    return instance.file.role, instance.series_number, instance.acquisition, instance.rows, instance.columns, frames


def _pixel_digest(instance: Instance) -> bytes:
    with instance.file.open() as stream, translate_errors(DAMAGED_PIXELS):
        dataset = read_with_pixels(stream, PIXELS)
        found = next((dataset[keyword].value for keyword in PIXELS if keyword in dataset), b"")
        return hashlib.sha256(found if isinstance(found, bytes) else repr(found).encode()).digest()
