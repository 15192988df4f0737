"""What holds for every test."""

import os

from hypothesis import HealthCheck, settings

# Before NumPy and torch are imported: pytest's workers share the cores, and threads that wait for each other spin.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The time of an example depends on the machine's load, not on the code's correctness.
settings.register_profile("metseg", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("metseg")
