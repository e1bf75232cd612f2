"""Where a running process's processor time goes, by thread and stack, without touching its code.

Python runs this module in every process whose PYTHONPATH names this folder. It does nothing unless
BENCH_SAMPLES names a folder and the process is a node or a load of the benchmark. Then a thread
waits for the file `on` in that folder; while it is there, a timer on the process's *processor time*
fires, and each time every thread's own processor time since the last firing is put down to the
stack on which that thread is now. When the file goes, `PID.json` is written:

    {"command", "cpu_s", "native_s", "stacks": [[["file:function", … innermost first], seconds], …]}

`native_s` is what no Python thread used: gRPC's own threads, LevelDB's compaction.

A thread that samples its neighbours would only ever see them where they let go of Python's lock.
The handler of a signal runs in the main thread within one call of where it was, and the other
threads stand where they burn time outside the lock. What is seen is the function, not the line.
"""

import itertools
import json
import os
import signal
import sys
import threading
import time
from collections import Counter

INTERVAL_S = 0.004
LOOK_S = 0.1
DEPTH = 60


class _Sampler:
    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._main = threading.get_ident()
        self._last: dict[int, int] = {}
        self._stacks: Counter = Counter()
        signal.signal(signal.SIGPROF, self._sample)
        # Calls of the system that C code makes must not see the timer.
        signal.siginterrupt(signal.SIGPROF, False)
        threading.Thread(target=self._watch, name="sampling", daemon=True).start()

    def _sample(self, _number: int, interrupted: object) -> None:
        for ident, top in sys._current_frames().items():
            now = time.clock_gettime_ns(time.pthread_getcpuclockid(ident))
            used = now - self._last.get(ident, now)
            self._last[ident] = now
            if used <= 0:
                continue
            frame = interrupted if ident == self._main else top
            stack: list = []
            while frame is not None and len(stack) < DEPTH:
                stack.append(frame.f_code)  # type: ignore[attr-defined]
                frame = frame.f_back  # type: ignore[attr-defined]
            self._stacks[tuple(stack)] += used

    def _watch(self) -> None:
        switch = os.path.join(self._folder, "on")
        while True:
            while not os.path.exists(switch):
                time.sleep(LOOK_S)
            self._last.clear()
            self._stacks.clear()
            began = time.process_time_ns()
            signal.setitimer(signal.ITIMER_PROF, INTERVAL_S, INTERVAL_S)
            while os.path.exists(switch):
                time.sleep(LOOK_S)
            signal.setitimer(signal.ITIMER_PROF, 0)
            self._write(time.process_time_ns() - began)

    def _write(self, used: int) -> None:
        stacks = dict(self._stacks)
        value = {
            "command": sys.orig_argv,
            "cpu_s": used / 1e9,
            "native_s": max(0, used - sum(stacks.values())) / 1e9,
            "stacks": [
                [[f"{code.co_filename}:{code.co_name}" for code in stack], spent / 1e9]
                for stack, spent in stacks.items()
            ],
        }
        path = os.path.join(self._folder, f"{os.getpid()}.json")
        with open(f"{path}.part", "w", encoding="utf-8") as file:
            json.dump(value, file)
        os.replace(f"{path}.part", path)


def _is_wanted(words: list) -> bool:
    pairs = itertools.pairwise(words)
    return ("node", "start") in pairs or any(word.endswith("/load.py") for word in words)


if os.environ.get("BENCH_SAMPLES") and _is_wanted(sys.orig_argv):
    _Sampler(os.environ["BENCH_SAMPLES"])
