"""The deadline of a simulation, honestly.

At the deadline the simulation is marked, so that its next stub call ends it, and its thread is sent
an exception, so that a loop that never calls the stub ends too. What cannot be ended is one long
call inside the interpreter (a huge power, a runaway regular expression): it holds its thread, and
other threads where it does not release the interpreter, until it returns; then it ends. The
package check keeps the likeliest of these out; it is no wall.

One thread watches all simulations of a simulator. It looks at them once a second, or earlier if a
deadline falls earlier, and sleeps once nothing has run for a second; so a simulation that ends in
time wakes nobody.
"""

from __future__ import annotations

import ctypes
import math
import threading
import time
from types import TracebackType

from chaincode.simulator.stub import Simulation, Stopped

_LOOK_AGAIN_S = 1.0
_AGAIN_S = 1.0
"""A contract may be deaf to the first exception: it is sent again until the simulation ends."""


class Deadline:
    """Guards one simulation on the thread that enters it.

    Attributes:
        at: when it fires, by the monotonic clock.
        fired: whether it has.
    """

    __slots__ = ("_seconds", "_simulation", "_thread", "_watchdog", "at", "fired")

    def __init__(self, watchdog: Watchdog, simulation: Simulation, seconds: float) -> None:
        self._watchdog = watchdog
        self._simulation = simulation
        self._seconds = seconds
        self.fired = False
        self.at = 0.0
        self._thread = 0

    def __enter__(self) -> Deadline:
        self._thread = threading.get_ident()
        self.at = time.monotonic() + self._seconds
        self._watchdog.add(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._watchdog.remove(self)
        if self.fired:
            # One may still be on its way to this thread; nothing after this block may meet it.
            _send(self._thread, None)

    def fire(self, now: float) -> None:
        """End the simulation: by its next stub call, or by an exception wherever it is."""
        self._simulation.stopped = True
        self.fired = True
        self.at = now + _AGAIN_S
        _send(self._thread, Stopped)


def _send(thread: int, exception: type[BaseException] | None) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread), ctypes.py_object(exception) if exception else None
    )


class Watchdog:
    """Watches the deadlines of all simulations of a simulator."""

    def __init__(self) -> None:
        self._running: set[Deadline] = set()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._looks_at = math.inf
        """When the thread looks again, by the monotonic clock."""

    def guard(self, simulation: Simulation, seconds: float) -> Deadline:
        """Return a context that ends *simulation* after *seconds*."""
        return Deadline(self, simulation, seconds)

    def add(self, deadline: Deadline) -> None:
        """Start watching."""
        with self._changed:
            self._running.add(deadline)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._watch, name="simulation-watchdog", daemon=True
                )
                self._thread.start()
            elif deadline.at < self._looks_at:
                self._changed.notify()

    def remove(self, deadline: Deadline) -> None:
        """Stop watching; after it no exception is sent."""
        with self._changed:
            self._running.discard(deadline)

    def _watch(self) -> None:
        idle = False
        with self._changed:
            while True:
                now = time.monotonic()
                for deadline in self._running:
                    if deadline.at <= now:
                        deadline.fire(now)
                if self._running or not idle:
                    idle = not self._running
                    nearest = min((deadline.at for deadline in self._running), default=math.inf)
                    self._looks_at = min(nearest, now + _LOOK_AGAIN_S)
                    self._changed.wait(self._looks_at - now)
                else:
                    self._looks_at = math.inf
                    self._changed.wait()
                    idle = False
