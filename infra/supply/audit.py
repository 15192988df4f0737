"""Known vulnerabilities of libraries, of what their wheels bundle, and of images.

pip-audit looks up every locked library, bundled.py what wheels bring along, trivy or grype every image if one of them
is installed.

    .venv-dev/bin/python infra/supply/audit.py

uv fetches pip-audit. A library that could not be looked up counts as a failure; pip-audit itself would ignore it.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["audit", "findings", "images", "scanner"]

ROOT = Path(__file__).resolve().parents[2]
SCANNERS = {
    "trivy": ["image", "--exit-code", "1", "--severity", "HIGH,CRITICAL", "--ignore-unfixed", "--quiet"],
    "grype": ["--fail-on", "high", "--only-fixed", "--quiet"],
}
"""Commands that scan an image, and their arguments before its name."""


def locks() -> list[Path]:
    """Every lock file."""
    return sorted([*ROOT.glob("requirements/*.lock"), *ROOT.glob("services/*/requirements*.lock")])


def audited(pip_audit: Sequence[str], lock: Path) -> dict[str, Any]:
    """Run pip-audit on a lock file; the report lists no libraries if it fails.

    Args:
        pip_audit: its command.
        lock: the lock file.

    Returns:
        Its JSON report.
    """
    options = [
        "--format",
        "json",
        "--progress-spinner",
        "off",
        "--no-deps",
        "--disable-pip",
        "--requirement",
        str(lock),
    ]
    done = subprocess.run([*pip_audit, *options], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    try:
        report: dict[str, Any] = json.loads(done.stdout)
    except json.JSONDecodeError:
        return {"dependencies": []}
    return report


def findings(report: dict[str, Any], locked: int) -> tuple[list[str], int]:
    """Summarise the report of one lock file.

    Args:
        report: pip-audit's.
        locked: number of libraries in the lock file.

    Returns:
        A sentence per vulnerability, and the number of libraries that could not be looked up.
    """
    found = [
        f"{each['name']} {each['version']}: {flaw['id']}, fixed in {', '.join(flaw['fix_versions']) or 'no release'}"
        for each in report["dependencies"]
        for flaw in each.get("vulns", ())
    ]
    looked_up = sum("skip_reason" not in each for each in report["dependencies"])
    return found, max(locked - looked_up, 0)


def images() -> list[str]:
    """The deployment's images on this machine, including third-party ones."""
    names = _printed(["docker", "compose", "--profile", "*", "config", "--images"])
    here = _printed(["docker", "images", "--format", "{{.Repository}}:{{.Tag}}"])
    known = set(here)
    return sorted({name if ":" in name else f"{name}:latest" for name in names} & known)


def _printed(command: Sequence[str]) -> list[str]:
    """The words that a command prints; none if it cannot be run."""
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return []
    return done.stdout.split()


def scanner() -> list[str] | None:
    """The command that scans an image; None if no scanner is installed."""
    for name, options in SCANNERS.items():
        if path := shutil.which(name):
            return [path, *options]
    return None


def audit(pip_audit: Sequence[str]) -> Sequence[str]:
    """Audit everything with the command `pip_audit` and print the outcome; returns the reasons for failure."""
    reasons = []
    for lock in locks():
        locked = len(re.findall(r"^[a-z0-9.-]+(?:\[[a-z,-]+\])?==", lock.read_text(encoding="utf-8"), re.MULTILINE))
        found, missed = findings(audited(pip_audit, lock), locked)
        name = str(lock.relative_to(ROOT))
        print(f"{name}: {locked} libraries, {len(found)} vulnerabilities, {missed} not looked up")
        reasons += [f"{name}: {each}" for each in found]
        if missed:
            reasons.append(f"{name}: {missed} libraries were not looked up; is the vulnerability service reachable?")
    reasons += _bundled()
    command = scanner()
    if command is None:
        print("images: not scanned, since neither trivy nor grype is installed")
        return reasons
    for image in images():
        clean = subprocess.run([*command, image], check=False).returncode == 0
        print(f"{image}: {'clean' if clean else 'see above'}")
        reasons += [] if clean else [f"{image} has vulnerabilities that a newer release fixes"]
    return reasons


def _bundled() -> list[str]:
    """What fails of the programs and libraries that wheels bring along."""
    command = [sys.executable, str(ROOT / "infra/supply/bundled.py")]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    return done.stderr.splitlines() if done.returncode else []


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pip-audit", nargs="+", default=[str(Path(sys.executable).with_name("uvx")), "pip-audit"])
    sys.exit("\n".join(audit(parser.parse_args().pip_audit)) or 0)
