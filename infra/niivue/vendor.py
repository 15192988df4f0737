"""Fetches the page's copy of NiiVue from npm: exactly the version and the bytes that niivue.json names.

For another version, write its number and `integrity` (`npm view @niivue/niivue@VERSION dist.integrity`) into that
file; the script then prints the sha256 of the file.
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
NOTE = ASSETS / "niivue.json"


def main() -> int:
    """Fetch, check, write; 1 if npm delivers other bytes than niivue.json names."""
    note = json.loads(NOTE.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        named = f"{note['package']}@{note['version']}"
        subprocess.run(["npm", "pack", "--silent", "--pack-destination", folder, named], check=True)  # noqa: S603,S607
        [tarball] = Path(folder).iterdir()
        digest = base64.b64encode(hashlib.sha512(tarball.read_bytes()).digest()).decode()
        if f"sha512-{digest}" != note["integrity"]:
            print(f"{named} is not the tarball that {NOTE.name} names: it is sha512-{digest}", file=sys.stderr)
            return 1
        with tarfile.open(tarball) as packed:
            member = packed.extractfile(note["file"])
            content = b"" if member is None else member.read()
    found = hashlib.sha256(content).hexdigest()
    (ASSETS / Path(note["file"]).name).write_bytes(content)
    NOTE.write_text(json.dumps({**note, "sha256": found}, indent=2) + "\n", encoding="utf-8")
    print(f"{named}: {len(content):,} bytes, sha256 {found}, {'as' if found == note['sha256'] else 'not as'} before")
    return 0


if __name__ == "__main__":
    sys.exit(main())
