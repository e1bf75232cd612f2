"""What every test shares: the Hypothesis profiles."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import HealthCheck, settings

_ALWAYS: dict[str, Any] = {
    # Deadlines measure the machine, not the code, on cores shared with other tests.
    "deadline": None,
    "suppress_health_check": [HealthCheck.too_slow],
}
# The same examples every time, so that a failure is of the change that it comes with.
settings.register_profile("full", derandomize=True, **_ALWAYS)
settings.register_profile("quick", derandomize=True, max_examples=25, **_ALWAYS)
# Others every time: HYPOTHESIS_PROFILE=search finds what nobody has thought of.
settings.register_profile("search", max_examples=1000, print_blob=True, **_ALWAYS)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "full"))
