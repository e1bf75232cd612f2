"""The operator's socket: HTTP on ``NODE/control.sock``, for the owner of the node's folder only.

    GET  /readyz   200 when the node serves and its channel has not halted, else 503 with the reason
    GET  /status   the node's status as JSON
    POST /clock    {"now": "2025-01-31T09:00:00+05:00"}; in a rehearsal only, else 409
    POST /stop     the node stops gracefully; 202

The file's mode is 0600 before anything can connect; there is no other protection and no other
address.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Protocol

import uvicorn
from fastapi import FastAPI, Response
from pydantic import AwareDatetime, BaseModel

from ledger.errors import Refusal
from nodes.operations.status import NodeStatus

CONTROL_SOCKET = "control.sock"


class ControlledNode(Protocol):
    """What the control socket asks of a node."""

    def status(self) -> NodeStatus:
        """Return the present status."""

    def set_clock(self, now: datetime) -> datetime:
        """Set a rehearsal's clock and return its time; raises Refusal elsewhere."""

    def request_stop(self) -> None:
        """Begin to stop; returns at once."""


class ClockSetting(BaseModel):
    """Body of ``POST /clock``."""

    now: AwareDatetime


def control_application(node: ControlledNode) -> FastAPI:
    """Return the HTTP application for *node*."""
    application = FastAPI(title="Qist node", docs_url=None, redoc_url=None, openapi_url=None)

    @application.get("/readyz")
    async def readyz(response: Response) -> dict[str, object]:
        status = node.status()
        if not status.ready:
            response.status_code = 503
        return {"ready": status.ready, "reason": status.halted or status.outside}

    @application.get("/status")
    async def status() -> dict[str, object]:
        return node.status().as_json()

    @application.post("/clock")
    async def clock(setting: ClockSetting, response: Response) -> dict[str, str]:
        try:
            return {"now": node.set_clock(setting.now).isoformat()}
        except Refusal as error:
            response.status_code = 409
            return {"error": str(error)}

    @application.post("/stop", status_code=202)
    async def stop() -> dict[str, str]:
        node.request_stop()
        return {"state": "stopping"}

    return application


class _Server(uvicorn.Server):
    """Leaves signals to the node, which stops all its parts in order."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def bind_control_socket(folder: Path) -> socket.socket:
    """Bind the control socket of a node's folder, replacing the one of a process that is gone.

    Raises:
        Refusal: another process answers there, or the folder cannot be written.
    """
    path = folder / CONTROL_SOCKET
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # A socket's path may have 107 bytes; through its open folder every one is short.
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    name = f"/proc/self/fd/{opened}/{CONTROL_SOCKET}"
    try:
        if path.exists():
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                try:
                    probe.connect(name)
                except OSError:
                    path.unlink()
                else:
                    raise Refusal(f"a node is already running in {folder}; stop it first")
        before = os.umask(0o177)
        try:
            listener.bind(name)
        finally:
            os.umask(before)
    except OSError as error:
        listener.close()
        raise Refusal(
            f"{path} cannot be bound: {error}; the node's folder must be writable"
        ) from error
    except Refusal:
        listener.close()
        raise
    finally:
        os.close(opened)
    return listener


class ControlServer:
    """Serves the control socket on the running loop."""

    def __init__(self, node: ControlledNode, listener: socket.socket, path: Path) -> None:
        configuration = uvicorn.Config(
            control_application(node),
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=1,
        )
        self._server = _Server(configuration)
        self._listener = listener
        self._path = path

    async def serve(self) -> None:
        """Serve until `stop`."""
        await self._server.serve(sockets=[self._listener])

    def stop(self) -> None:
        """Let `serve` return and remove the socket."""
        self._server.should_exit = True
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Remove the socket of a server that never served."""
        self._listener.close()
        self._path.unlink(missing_ok=True)
