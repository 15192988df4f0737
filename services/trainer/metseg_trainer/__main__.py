"""`python -m metseg_trainer`: the command line, with its warnings logged as every service logs."""

import sys

from metseg import logs
from metseg_trainer import cli


def main() -> int:
    """Run the command line; its exit status."""
    logs.configure("WARNING")
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
