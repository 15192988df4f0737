"""Fetches the page's copies of npm packages: exactly the versions and bytes that the notes next to them name.

A note is `components/assets/NAME.json`. For another version, write its number and `integrity` (`npm view
PACKAGE@VERSION dist.integrity`) into it; the script then prints the sha256 of the file.
"""

import base64
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ASSETS = Path(__file__).resolve().parents[2] / "services" / "ui" / "metseg_ui" / "components" / "assets"


def main() -> int:
    """Fetch, check, write; 1 if npm delivers other bytes than a note names."""
    return max(fetch(note) for note in sorted(ASSETS.glob("*.json")))


def fetch(path: Path) -> int:
    """Fetch what one note names; 1 if npm delivers other bytes."""
    note = json.loads(path.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        named = f"{note['package']}@{note['version']}"
        subprocess.run(["npm", "pack", "--silent", "--pack-destination", folder, named], check=True)  # noqa: S603,S607
        [tarball] = Path(folder).iterdir()
        digest = base64.b64encode(hashlib.sha512(tarball.read_bytes()).digest()).decode()
        if f"sha512-{digest}" != note["integrity"]:
            print(f"{named} is not the tarball that {path.name} names: it is sha512-{digest}", file=sys.stderr)
            return 1
        with tarfile.open(tarball) as packed:
            member = packed.extractfile(note["file"])
            content = b"" if member is None else member.read()
    found = hashlib.sha256(content).hexdigest()
    (ASSETS / note["asset"]).write_bytes(content)
    path.write_text(json.dumps({**note, "sha256": found}, indent=2) + "\n", encoding="utf-8")
    print(f"{named}: {len(content):,} bytes, sha256 {found}, {'as' if found == note['sha256'] else 'not as'} before")
    return 0


if __name__ == "__main__":
    sys.exit(main())
