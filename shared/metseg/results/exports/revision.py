"""What identifies the code that renders exports: a file that it would render otherwise needs another ETag."""

import hashlib
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["renderer_revision"]

PACKAGE = Path(__file__).parents[2]
ROOMS = ("imaging", "formats", "results")
"""Packages of metseg whose code and templates decide what an export looks like."""
SUFFIXES = {".py", ".j2"}


@cache
def renderer_revision() -> str:
    """A digest of the release, and of the code and templates that render; read once in a process."""
    digest = hashlib.sha256(_release().encode())
    for room in ROOMS:
        for path in sorted((PACKAGE / room).rglob("*")):
            if path.suffix in SUFFIXES:
                digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _release() -> str:
    try:
        return version("metseg")
    except PackageNotFoundError:  # run from its sources
        return ""
