"""File names: natural order, the stems that name slices, masks among images, files of operating systems.

The client uses this module without any imaging library.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, count
from pathlib import PurePosixPath

__all__ = [
    "MASK_SUFFIX",
    "base_name",
    "exclude_masks",
    "file_stem",
    "is_system_file",
    "metaimage_voxel_file",
    "natural_key",
    "page_stems",
    "unique_names",
]

MASK_SUFFIX = "_mask"
MAX_STEM_LENGTH = MAX_NAME_LENGTH = 200
SYSTEM_FILES = {"thumbs.db", "desktop.ini", "__macosx"}
DIGITS = re.compile("([0-9]+)")
VOXEL_FILE = re.compile(rb"^ElementDataFile[ \t]*=([^\n]*)\n?", re.MULTILINE)


def natural_key(name: str) -> tuple[tuple[str | tuple[int, str], ...], str]:
    """A sort key that orders the numbers in names by value: `x_2` before `x_10`.

    Numbers are compared by length and digits, never converted: a name may hold thousands of digits.
    """
    parts: list[str | tuple[int, str]] = []
    for index, part in enumerate(DIGITS.split(name.casefold())):
        digits = part.lstrip("0")
        parts.append((len(digits), digits) if index % 2 else part)
    return tuple(parts), name


def base_name(name: str) -> str:
    """The name of an uploaded file without folders and control characters, of bounded length."""
    base = re.split(r"[/\\]", name)[-1]
    printable = "".join(character for character in base if character.isprintable()).strip()
    return printable[-MAX_NAME_LENGTH:] or "unnamed"


def is_system_file(name: str) -> bool:
    """Whether a file or folder is hidden, or was created by an operating system."""
    return name.startswith(".") or name.casefold() in SYSTEM_FILES


def file_stem(name: str) -> str:
    """The name without folder and suffix, safe to be part of another file's name."""
    last = PurePosixPath(name.replace("\\", "/")).name
    clean = "".join(letter if letter.isprintable() else "_" for letter in PurePosixPath(last).stem)
    return clean[:MAX_STEM_LENGTH] or "slice"


def page_stems(name: str, pages: int) -> Iterator[str]:
    """Name the pages of a file.

    Args:
        name: of the file.
        pages: how many it has.

    Yields:
        The file's stem for a single page, else `stem_001` and so on.
    """
    if pages == 1:
        yield file_stem(name)
        return
    width = max(3, len(str(pages)))
    yield from (f"{file_stem(name)}_{number:0{width}}" for number in range(1, pages + 1))


def unique_names(stems: Iterable[str]) -> tuple[str, ...]:
    """The same stems in the same order; a repeated one gets `_2`, `_3` and so on."""
    taken: dict[str, None] = {}
    for name in stems:
        candidates = chain([name], (f"{name}_{number}" for number in count(2)))
        taken[next(candidate for candidate in candidates if candidate not in taken)] = None
    return tuple(taken)


def metaimage_voxel_file(head: bytes) -> tuple[str, int] | None:
    """The file with the voxels of a MetaImage header, and the size of the header; None where it names none.

    The name is `LOCAL` where the voxels follow the header.
    """
    field = VOXEL_FILE.search(head)
    return None if field is None else (field[1].decode("utf-8", "replace").strip(), field.end())


def exclude_masks(names: Sequence[str]) -> list[int]:
    """The indices of all names but those of masks, `x_mask.*`, whose image, `x.*`, is among them."""
    bases = [str(PurePosixPath(name).parent / PurePosixPath(name).stem).casefold() for name in names]
    images = set(bases)
    return [index for index, base in enumerate(bases) if not _is_mask(base, images)]


def _is_mask(base: str, images: set[str]) -> bool:
    return base.endswith(MASK_SUFFIX) and base.removesuffix(MASK_SUFFIX) in images
