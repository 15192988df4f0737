"""Tables in the documentation that a run writes, between two marks of their name."""

import re
from pathlib import Path

__all__ = ["replace_block"]


def replace_block(page: Path, name: str, content: str) -> None:
    """Put `content` between `<!-- NAME ... -->` and `<!-- /NAME -->`.

    Raises:
        ValueError: the page has no such marks.
    """
    text = page.read_text(encoding="utf-8")
    pattern = re.compile(rf"(<!-- {name}\b[^>]*-->\n).*?(<!-- /{name} -->)", re.DOTALL)
    renewed, count = pattern.subn(lambda found: found[1] + content + found[2], text)
    if count != 1:
        raise ValueError(f"{page} has no marks for {name}")
    page.write_text(renewed, encoding="utf-8")
