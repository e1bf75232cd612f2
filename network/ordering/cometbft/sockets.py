"""Unix sockets that only this user reaches, at any depth of folders.

A node and its CometBFT talk over two sockets in CometBFT's folder. The folder has mode 0700 and the
sockets that we make 0600, so that no other user of the machine can speak for either side.

The system keeps the path of a socket in 107 bytes. A longer one is reached through a descriptor of
its folder (`/proc/self/fd/N/name`), and CometBFT is started in the folder and given the bare name.
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from network.ordering.cometbft.errors import HomeError

__all__ = [
    "LONGEST_PATH",
    "bind_private",
    "connect",
    "is_answered",
    "make_private_folder",
    "remove_stale",
]

LONGEST_PATH = 107
"""Bytes that the system keeps of the path of a socket."""
_FOLDER_MODE = 0o700
_SOCKET_MODE = 0o600
_BACKLOG = 16


def make_private_folder(folder: Path) -> None:
    """Make *folder* if it is missing, and let nobody but this user into it.

    Raises:
        HomeError: it belongs to somebody else, or is no folder.
    """
    folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
    found = folder.stat()
    if found.st_uid != os.geteuid():
        raise HomeError(
            f"{folder} belongs to user {found.st_uid}, not to user {os.geteuid()} who runs the "
            "node; give it to them, or run the node as its owner"
        )
    if stat.S_IMODE(found.st_mode) != _FOLDER_MODE:
        folder.chmod(_FOLDER_MODE)


def bind_private(path: Path) -> socket.socket:
    """Return a listening socket at *path*, which nobody but this user can connect to.

    What a process that was killed left there is removed. The folder is made if it is missing.

    Raises:
        HomeError: somebody listens there already, or what is there is no socket.
    """
    make_private_folder(path.parent)
    if is_answered(path):
        raise HomeError(f"another process listens on {path}; is this node running already?")
    remove_stale(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _reachable(path) as short:
            listening.bind(short)
            os.chmod(short, _SOCKET_MODE)
        listening.listen(_BACKLOG)
        listening.setblocking(False)
    except BaseException:
        listening.close()
        raise
    return listening


def is_answered(path: Path) -> bool:
    """Tell whether a process listens on *path*, which a file that is there does not show."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            with _reachable(path) as short:
                probe.connect(short)
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except BlockingIOError:
            return True  # so many wait that no further one fits
        except OSError as error:
            raise HomeError(f"{path} is not a socket that can be used: {error.strerror}") from error
        return True


def remove_stale(path: Path) -> None:
    """Remove the socket file that a process left behind when it was killed.

    Raises:
        HomeError: what is there is no socket.
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise HomeError(f"{path} is no socket, so it is left alone; move it away")
    path.unlink(missing_ok=True)


async def connect(path: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection to whoever listens on *path*.

    Raises:
        OSError: nobody does.
    """
    connecting = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connecting.setblocking(False)
        with _reachable(path) as short:
            await asyncio.get_running_loop().sock_connect(connecting, short)
        return await asyncio.open_unix_connection(sock=connecting)
    except BaseException:
        connecting.close()
        raise


@contextmanager
def _reachable(path: Path) -> Iterator[str]:
    """Give a name of *path* that is short enough for the system, while the context lasts."""
    if len(os.fsencode(path)) <= LONGEST_PATH:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
