"""`python -m metseg_trainer`: the command line, with warnings logged as in the services."""

import sys

from metseg import logs
from metseg_trainer import cli


def main() -> int:
    """Run the command line; returns its exit status."""
    logs.configure("WARNING")
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
