"""What holds for every test."""

from hypothesis import HealthCheck, settings

# The time of an example depends on the machine's load, not on the code's correctness.
settings.register_profile("metseg", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("metseg")
