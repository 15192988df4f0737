"""The root key of the bundled store: `python -m metseg_worker.root_key FOLDER`. Runs before the store starts.

The key is random and in two files that only the store and the set-up mount. METSEG_S3_ACCESS_KEY and
METSEG_S3_SECRET_KEY, if set, take its place, as in deployments that chose their own.
"""

import argparse
import secrets
import sys
from pathlib import Path

from metseg import logs
from metseg.errors import StoreUnavailable
from metseg.settings import Settings
from metseg_worker.store_users import read_key, write_key

__all__ = ["main", "write_root_key"]

ROOT_USER = "metseg"


def main(arguments: list[str] | None = None) -> int:
    """Write the key; returns the exit status."""
    parser = argparse.ArgumentParser(prog="metseg_worker.root_key", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the store and the set-up find the key")
    options = parser.parse_args(arguments)
    logs.configure()
    try:
        write_root_key(Settings(), options.folder)
    except StoreUnavailable as error:
        print(f"metseg: {error.detail}", file=sys.stderr)
        return 1
    return 0


def write_root_key(settings: Settings, folder: Path) -> None:
    """Write the chosen key, or a random one unless the folder has one.

    Args:
        settings: with the chosen key; its secret may be empty.
        folder: of the two files.

    Raises:
        StoreUnavailable: the folder cannot be written.
    """
    chosen = settings.s3_secret_key.get_secret_value()
    if chosen:
        write_key(folder, settings.s3_access_key or ROOT_USER, chosen)
    elif read_key(folder) is None:
        write_key(folder, settings.s3_access_key or ROOT_USER, secrets.token_urlsafe(24))


if __name__ == "__main__":
    sys.exit(main())
