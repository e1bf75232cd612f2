"""Sets the clock of a rehearsal's nodes through their control sockets.

``POST /clock`` on ``NODE/control.sock``, as docs/howto/run-a-node.md describes it. A setting is
made on every node before anything else happens, since endorsers refuse what is 15 minutes off.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from clients.rehearsal.errors import RehearsalFailed

CONTROL_SOCKET = "control.sock"
_TIMEOUT_S = 10.0


class RehearsalClock:
    """The one time of all nodes of a rehearsal, and of the proposals of its officers.

    Args:
        nodes: the nodes' folders.
    """

    def __init__(self, nodes: Sequence[Path], now: datetime) -> None:
        self._nodes = tuple(nodes)
        self._now = now

    def __call__(self) -> datetime:
        """Return the present time of the rehearsal; what the SDK asks for."""
        return self._now

    async def set(self, now: datetime) -> None:
        """Move every node's clock to *now*.

        Raises:
            RehearsalFailed: a node does not answer, or refuses.
        """
        await asyncio.gather(*(_post_clock(node, now) for node in self._nodes))
        self._now = now


async def _post_clock(node: Path, now: datetime) -> None:
    body = json.dumps({"now": now.isoformat()}).encode()
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            reader, writer = await _connect(node)
            try:
                writer.write(
                    b"POST /clock HTTP/1.1\r\nHost: node\r\nConnection: close\r\n"
                    b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                    % (len(body), body)
                )
                answer = await reader.read()
            finally:
                writer.close()
    except (OSError, TimeoutError) as error:
        raise RehearsalFailed(
            f"the node in {node} does not answer on its control socket: {error}; see its node.log"
        ) from error
    status, _, rest = answer.partition(b"\r\n")
    if b" 200 " not in status:
        said = rest.partition(b"\r\n\r\n")[2].decode("utf-8", "replace")
        raise RehearsalFailed(f"the node in {node} did not set its clock to {now}: {said}")


async def _connect(node: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    # A socket's path may have 107 bytes; through its open folder every one is short.
    folder = os.open(node, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return await asyncio.open_unix_connection(f"/proc/self/fd/{folder}/{CONTROL_SOCKET}")
    finally:
        os.close(folder)
