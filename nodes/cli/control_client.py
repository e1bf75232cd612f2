"""Asking a running node through its control socket (nodes/operations/control.py)."""

from __future__ import annotations

import http.client
import json
import os
import socket
from pathlib import Path
from typing import Any

from ledger.errors import Refusal, Unavailable

CONTROL_SOCKET = "control.sock"
TIMEOUT_S = 10.0


class NodeNotRunning(Unavailable):
    """Nothing answers at the control socket of a node."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket's file."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        # A socket's path may have 107 bytes; through its open folder every one is short.
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self.sock.connect(f"/proc/self/fd/{folder}/{self._path.name}")
        finally:
            os.close(folder)


def node_status(folder: Path) -> dict[str, Any]:
    """Return what a running node says of itself; see `nodes.operations.status.NodeStatus`.

    Raises:
        NodeNotRunning: no node answers.
    """
    _status, value = _ask(folder, "GET", "/status")
    return value


def is_ready(folder: Path) -> tuple[bool, str]:
    """Tell whether a node serves, and why not.

    Raises:
        NodeNotRunning: no node answers.
    """
    status, value = _ask(folder, "GET", "/readyz")
    return status == 200, str(value.get("reason", ""))


def set_clock(folder: Path, now: str) -> str:
    """Set the clock of a rehearsal's node and return its time.

    Raises:
        Refusal: this is no rehearsal, or the time lies before the present one.
        NodeNotRunning: no node answers.
    """
    status, value = _ask(folder, "POST", "/clock", {"now": now})
    if status != 200:
        raise Refusal(str(value.get("error", f"the node answered {status}")))
    return str(value["now"])


def request_stop(folder: Path, timeout_s: float = TIMEOUT_S) -> None:
    """Let a node begin to stop.

    Raises:
        NodeNotRunning: no node answers in time.
    """
    _ask(folder, "POST", "/stop", timeout_s=timeout_s)


def _ask(
    folder: Path,
    method: str,
    path: str,
    body: dict[str, Any] | None = None,
    timeout_s: float = TIMEOUT_S,
) -> tuple[int, dict[str, Any]]:
    connection = _UnixConnection(folder / CONTROL_SOCKET, timeout_s)
    try:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        raw = None if body is None else json.dumps(body)
        connection.request(method, path, raw, headers)
        response = connection.getresponse()
        value: dict[str, Any] = json.loads(response.read() or b"{}")
        return response.status, value
    except FileNotFoundError as error:
        raise NodeNotRunning(
            f"no node is running in {folder}; start it with `qist node start {folder}`"
        ) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NodeNotRunning(
            f"the node in {folder} does not answer ({type(error).__name__}); "
            f"look into its log, or start it with `qist node start {folder}`"
        ) from error
    finally:
        connection.close()
