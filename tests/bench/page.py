"""docs/appendix-benchmarks.md: the measurements of `make bench`, kept in one file and shown as tables."""

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from tests.markdown_tables import rows

from metseg.parallel import cpu_quota

__all__ = ["keep", "machine", "shown", "spread"]

ROOT = Path(__file__).parents[2]
FIGURES = ROOT / "docs/results/performance.json"
PAGE = ROOT / "docs/appendix-benchmarks.md"
MARKS = "<!-- bench: written by `make bench` -->", "<!-- /bench -->"
TITLES = {
    "model": "Model",
    "volume": "Volume",
    "system": "System",
    "latency": "Latency",
    "memory": "Memory",
    "growth": "Growth",
    "scale": "Scale",
    "engines": "Engines",
    "nnunet": "nnU-Net",
    "training": "Training",
}

Table = dict[str, Any]
"""`head` and `cells` of a table, and `notes` below it; everything is text."""


def spread(values: Sequence[float], digits: int = 1) -> str:
    """The median, and the least and the most."""
    low, middle, high = (f"{value:.{digits}f}" for value in (min(values), median(values), max(values)))
    return middle if low == high else f"{middle} ({low} to {high})"


def machine() -> dict[str, Any]:
    """The machine, and its load by other work."""
    names = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    flags = Path("/proc/cpuinfo").read_text()
    wide = next((name for name in ("avx512_vnni", "avx_vnni", "avx512f", "avx2") if name in flags), "neither")
    revision = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, stdout=subprocess.PIPE, check=False)
    return {
        "processor": names[0] if names else platform.machine(),
        "instructions": wide,
        "cpus": cpu_quota(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "load_before": round(os.getloadavg()[0], 1),
        "git_revision": revision.stdout.decode().strip(),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def keep(part: str, on: dict[str, Any], table: Table, figures: object) -> None:
    """Print a part's table, and write it to the file and the page; the other parts stay unchanged."""
    parts = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    parts[part] = {"machine": on, "table": table, "figures": figures}
    FIGURES.write_text(json.dumps(parts, indent=1) + "\n")
    print(f"\n{shown(part, parts[part])}")
    before, rest = PAGE.read_text().split(MARKS[0])
    tables = "\n".join(shown(name, parts[name]) for name in TITLES if name in parts)
    PAGE.write_text(f"{before}{MARKS[0]}\n{tables}{MARKS[1]}{rest.split(MARKS[1])[1]}")


def shown(part: str, measured: dict[str, Any]) -> str:
    """A part as Markdown."""
    on, table = measured["machine"], measured["table"]
    where = (
        f"{on['processor']}, {on['cpus']} CPUs, {on['instructions']}, {on['memory_gib']} GiB; load of other work at "
        f"the start {on['load_before']}; {on['at']}, revision {on['git_revision']}."
    )
    lines = [f"### {TITLES[part]}", *rows(table["head"], table["cells"]), "", *table["notes"], "", where, ""]
    return "\n".join(lines)
