"""What the threads of a node's process give up does not stay with the process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import sys, threading
from nodes.allocator import keep_few_heaps

if sys.argv[1] == "few" and not keep_few_heaps():
    raise SystemExit("another C library than glibc")


def work(before, done):
    before.wait()
    # As a set of many records: pieces below what comes from the system by itself.
    kept = [b"x" * 60_000 for _ in range(80)]
    del kept[::2], kept[:-1]
    done.set()
    held.wait()


held = threading.Event()
before = threading.Event()
before.set()
for _ in range(16):
    done = threading.Event()
    threading.Thread(target=work, args=(before, done), daemon=True).start()
    done.wait()
    before = done
for line in open("/proc/self/status"):
    if line.startswith("RssAnon:"):
        print(line.split()[1])
held.set()
"""


def _anonymous_kb(heaps: str) -> int:
    settings = {name: each for name, each in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, heaps],
        env=settings,
        capture_output=True,
        text=True,
        check=False,
    )
    if "another C library" in done.stderr:
        pytest.skip("the settings are those of glibc")
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_threads_one_after_another_take_the_same_memory() -> None:
    """Sixteen threads that each fill and free five megabytes do not leave sixteen such heaps."""
    few, usual = _anonymous_kb("few"), _anonymous_kb("usual")
    assert few + 20_000 < usual, f"{few} kB with few heaps, {usual} kB as the C library would"
