"""Tests of pbxrouter."""

from hypothesis import HealthCheck, settings

# No test leans on the speed of the machine.
settings.register_profile("pbxrouter", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("pbxrouter")
