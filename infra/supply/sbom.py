"""Bills of materials (CycloneDX) of every service, from the lock files: writes build/sbom.

    .venv-dev/bin/python infra/supply/sbom.py

uv fetches cyclonedx-bom; only the lock files are read, so nothing is looked up.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Write one bill for each lock file of a service."""
    folder = ROOT / "build/sbom"
    folder.mkdir(parents=True, exist_ok=True)
    command = [str(Path(sys.executable).with_name("uvx")), "--from", "cyclonedx-bom", "cyclonedx-py", "requirements"]
    for lock in sorted(ROOT.glob("services/*/requirements*.lock")):
        bill = folder / f"{lock.parent.name}-{lock.stem}.cdx.json"
        subprocess.run([*command, "--output-reproducible", "--of", "JSON", "-o", str(bill), str(lock)], check=True)
        print(bill.relative_to(ROOT))


if __name__ == "__main__":
    main()
