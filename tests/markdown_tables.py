"""Tables in the documentation that a run writes, between two marks of their name."""

import re
from collections.abc import Sequence
from pathlib import Path

__all__ = ["replace_block", "rows"]


def rows(head: Sequence[str], cells: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table; all columns but the first are numbers."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *cells]
    return ["| " + " | ".join(line) + " |" for line in lines]


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
