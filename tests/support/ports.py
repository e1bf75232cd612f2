"""Ports for servers of tests, such that tests that run side by side do not meet.

The machine gives ports from 32768 on to outgoing connections. Those from 10240 to there are drawn
by chance, here and by `qist network create --base-port 0`. What must have a number that is known
before lies below, where each process that runs tests has a part of its own: a network that is down
for a moment finds its ports free again.
"""

from __future__ import annotations

import errno
import os
import random
import socket

DRAWN = range(10_240, 32_768)
PARTS = range(1_050, 10_050, 1_800)
"""Where the part of each process that runs tests begins."""
WIDTH = 300
"""Ports of three networks, a hundred each."""


def free_port() -> int:
    """A port that nothing listens on."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Ports that are free now, of those that the machine gives to no outgoing connection."""
    found: list[int] = []
    while len(found) < count:
        port = random.choice(DRAWN)
        if port not in found and _is_free(port):
            found.append(port)
    return found


def free_base() -> int:
    """A port such that it and those of three networks after it are free now, and stay so."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    part = PARTS[worker % len(PARTS)]
    for base in range(part, part + PARTS.step - WIDTH + 1, 100):
        tens = range(base, base + WIDTH, 10)
        if all(_is_free(ten + offset) for ten in tens for offset in range(3)):
            return base
    raise AssertionError("no three hundred ports in a row are free")


def _is_free(port: int) -> bool:
    try:
        for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.bind((host, port))
    except OSError as error:
        # A machine without IPv6 has no such address, and needs none.
        return error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
    return True
