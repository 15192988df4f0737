"""`python -m metseg_trainer`."""

import sys

from metseg_trainer.cli import main

sys.exit(main())
