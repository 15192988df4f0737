"""Python with additional packages for the benches: peers and load generators, which are in no lock file."""

import sys
from pathlib import Path

__all__ = ["python_with"]


def python_with(*packages: str) -> list[str]:
    """The command for a Python with this environment's packages and these; uv installs them into its cache."""
    uv = str(Path(sys.executable).with_name("uv"))
    options = ["--quiet", "--no-project", "--python", sys.executable]
    return [uv, "run", *options, *(f"--with={package}" for package in packages), "python", "-W", "ignore"]
