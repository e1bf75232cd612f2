"""Where a running process's processor time goes, by thread and function, without touching its code.

Python runs this module in every process whose PYTHONPATH names this folder. It does nothing unless
BENCH_SAMPLES names a folder and the process is a node or a load of the benchmark. Then a thread
waits for the file `on` in that folder and looks, while it is there:

- *Main thread, sampled.* A timer on the process's processor time fires, and the time that each
  thread has used since is put down to the stack on which it is now: of the main thread, in which
  the handler runs within one call of where it was. The others are told by name alone: they would be
  seen where they wait rather than where they work, and Python ends with a fault of the memory when
  they go on while somebody goes through their frames.
- *Other threads, exact.* So their work is measured by their own clock: every piece of work handed
  to a pool of threads, under the name of its function, and within it the functions of `EXACT`.

When the file goes, everything is as before and `PID.json` is written:

    {"command", "cpu_s", "native_s", "exact": [["file:function", seconds], …],
     "stacks": [[["file:function", … innermost first, "thread:NAME"], seconds], …]}

`native_s` is what no Python thread used: gRPC's own threads, LevelDB's compaction. What is seen is
the function, not the line.
"""

import functools
import itertools
import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from concurrent.futures import thread as pools

INTERVAL_S = 0.004
LOOK_S = 0.1
DEPTH = 60
SWITCH_S = 0.0002

EXACT = (
    ("nodes.committer.committer", "Committer", "stage"),
    ("nodes.committer.committer", "Committer", "write"),
)
"""Module, class and method of what is measured inside of a piece of work."""


class _Sampler:
    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._main = threading.get_ident()
        self._last: dict[int, int] = {}
        self._stacks: Counter = Counter()
        self._exact: Counter = Counter()
        # Of each thread, what the measured functions under way have called so far.
        self._called: dict[int, list[int]] = {}
        self._replaced: list = []
        signal.signal(signal.SIGPROF, self._sample)
        # Calls of the system that C code makes must not see the timer.
        signal.siginterrupt(signal.SIGPROF, False)
        threading.Thread(target=self._watch, name="sampling", daemon=True).start()

    def _sample(self, _number: int, interrupted: object) -> None:
        for ident in sys._current_frames():
            now = time.clock_gettime_ns(time.pthread_getcpuclockid(ident))
            used = now - self._last.get(ident, now)
            self._last[ident] = now
            if used <= 0:
                continue
            frame = interrupted if ident == self._main else None
            stack: list = []
            while frame is not None and len(stack) < DEPTH:
                stack.append(frame.f_code)  # type: ignore[attr-defined]
                frame = frame.f_back  # type: ignore[attr-defined]
            self._stacks[ident, tuple(stack)] += used

    def _watch(self) -> None:
        switch = os.path.join(self._folder, "on")
        while True:
            while not os.path.exists(switch):
                time.sleep(LOOK_S)
            self._last.clear()
            self._stacks.clear()
            self._exact.clear()
            usual = sys.getswitchinterval()
            sys.setswitchinterval(SWITCH_S)
            self._measure()
            began = time.process_time_ns()
            signal.setitimer(signal.ITIMER_PROF, INTERVAL_S, INTERVAL_S)
            while os.path.exists(switch):
                time.sleep(LOOK_S)
            signal.setitimer(signal.ITIMER_PROF, 0)
            used = time.process_time_ns() - began
            for place, name, original in self._replaced:
                setattr(place, name, original)
            self._replaced.clear()
            sys.setswitchinterval(usual)
            self._write(used)

    def _measure(self) -> None:
        """Have work measured from now on that threads other than the main one do."""
        for module, kind, name in EXACT:
            if module in sys.modules:
                place = getattr(sys.modules[module], kind)
                self._replace(place, name, self._measured(place.__dict__[name]))
        self._replace(pools._WorkItem, "run", self._measured_item(pools._WorkItem.run))

    def _replace(self, place: object, name: str, function: object) -> None:
        self._replaced.append((place, name, place.__dict__[name]))
        setattr(place, name, function)

    def _measured(self, function):
        @functools.wraps(function)
        def measured(*words, **more):
            return self._timed(function, function, words, more)

        return measured

    def _measured_item(self, run):
        @functools.wraps(run)
        def measured(item):
            return self._timed(_innermost(item.fn), run, (item,), {})

        return measured

    def _timed(self, name, function, words, more):
        ident = threading.get_ident()
        if ident == self._main:
            return function(*words, **more)
        called = self._called.setdefault(ident, [])
        called.append(0)
        began = time.thread_time_ns()
        try:
            return function(*words, **more)
        finally:
            took = time.thread_time_ns() - began
            self._exact[ident, getattr(name, "__code__", None)] += took - called.pop()
            if called:
                called[-1] += took

    def _write(self, used: int) -> None:
        stacks, exact = dict(self._stacks), dict(self._exact)
        names = {each.ident: each.name for each in threading.enumerate()}
        value = {
            "command": sys.orig_argv,
            "cpu_s": used / 1e9,
            "native_s": max(0, used - sum(stacks.values())) / 1e9,
            "exact": [[_place(code), spent / 1e9] for (_, code), spent in exact.items()],
            "stacks": [
                [[*map(_place, stack), f"thread:{names.get(ident, ident)}"], spent / 1e9]
                for (ident, stack), spent in stacks.items()
            ],
        }
        path = os.path.join(self._folder, f"{os.getpid()}.json")
        with open(f"{path}.part", "w", encoding="utf-8") as file:
            json.dump(value, file)
        os.replace(f"{path}.part", path)


def _innermost(function):
    """Return what a piece of work calls: behind partial functions and the run of a context."""
    while True:
        if isinstance(function, functools.partial):
            is_context = getattr(function.func, "__name__", "") == "run" and function.args
            function = function.args[0] if is_context else function.func
        elif hasattr(function, "__func__"):
            function = function.__func__
        else:
            return function


def _place(code) -> str:
    return "?" if code is None else f"{code.co_filename}:{code.co_name}"


def _is_wanted(words: list) -> bool:
    pairs = itertools.pairwise(words)
    return ("node", "start") in pairs or any(word.endswith("/load.py") for word in words)


if os.environ.get("BENCH_SAMPLES") and _is_wanted(sys.orig_argv):
    _Sampler(os.environ["BENCH_SAMPLES"])
