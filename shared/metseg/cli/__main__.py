"""`python -m metseg.cli` is `metseg`."""

import sys

from metseg.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
