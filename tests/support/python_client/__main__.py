"""Run the scenarios of a table on a network, and print a line of JSON for each."""

from __future__ import annotations

import json
import sys
import threading
import time
import traceback
from pathlib import Path
from types import SimpleNamespace

from tests.support.python_client import (  # noqa: F401 - each lists its scenarios
    connecting,
    deadlines,
    events,
    failures,
    private_data,
    signing,
    transactions,
)
from tests.support.python_client.world import SCENARIOS, Scenario, World, verify

DEADLINE_S = 90.0


def run(name: str, scenario: Scenario | None, world: World) -> None:
    """Run one scenario within its deadline and tell how it ended."""
    told: list[str | None] = []

    def body() -> None:
        try:
            verify(scenario, f"there is no scenario {name} for this client")
            assert scenario is not None
            scenario(world)
            told.append(None)
        except Exception:  # noqa: BLE001 - whatever it raises is the scenario's failure
            told.append(traceback.format_exc())

    started = time.monotonic()
    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    thread.join(DEADLINE_S)
    error = told[0] if told else f"it did not end within {DEADLINE_S:g} s"
    tell(name, round((time.monotonic() - started) * 1000), error)


def tell(name: str, ms: int, error: str | None) -> None:
    line = {"scenario": name, "passed": error is None, "ms": ms, "error": error}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def main() -> None:
    given, listed = (Path(each).read_text("utf-8") for each in sys.argv[1:])
    settings = json.loads(given, object_hook=lambda found: SimpleNamespace(**found))
    table = [each["name"] for each in json.loads(listed)]
    world = World(settings)
    for name in table:
        run(name, SCENARIOS.get(name), world)
    for name in SCENARIOS.keys() - set(table):
        tell(name, 0, "the table of scenarios does not list it")
    world.close()


main()
