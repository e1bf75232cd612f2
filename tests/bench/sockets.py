"""How many bytes the TCP connections of some ports have carried, as the kernel counts them.

Asked by netlink (sock_diag), which needs no rights and sees this machine's connections only. Both
ends of a connection are here, and each counts what it has sent and the other has acknowledged: the
sum is the payload of both directions, TLS included, headers of TCP and IP not.

Absent: connections that were closed, with which their counts go. Nodes keep theirs.

Source: Linux, include/uapi/linux/{sock_diag,inet_diag,tcp}.h.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Collection, Iterator

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_REQUEST_ALL = 0x301  # NLM_F_REQUEST | NLM_F_ROOT | NLM_F_MATCH
_ERROR, _DONE = 2, 3
_WITH_INFO = 1 << 1  # INET_DIAG_INFO is 2
_INET_DIAG_INFO = 2
_ESTABLISHED = 1 << 1
_HEADER = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=BBBBI48s")
_ATTRIBUTE = struct.Struct("=HH")
_PORTS = struct.Struct("!HH")
_MESSAGE_BYTES = 72
"""Of `inet_diag_msg`; its ports stand at 4."""
_BYTES_ACKED = 120
"""Where `tcp_info` has them."""
_RECEIVE = 1 << 18


def carried_bytes(ports: Collection[int]) -> int:
    """Return the bytes that the open connections from or to *ports* have carried, both ways."""
    return sum(
        acked
        for family in (socket.AF_INET, socket.AF_INET6)
        for here, there, acked in _connections(family)
        if here in ports or there in ports
    )


def _connections(family: int) -> Iterator[tuple[int, int, int]]:
    """Own port, the other's port and bytes acknowledged of every established connection."""
    request = _REQUEST.pack(family, socket.IPPROTO_TCP, _WITH_INFO, 0, _ESTABLISHED, bytes(48))
    length = _HEADER.size + len(request)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as kernel:
        kernel.send(_HEADER.pack(length, _SOCK_DIAG_BY_FAMILY, _REQUEST_ALL, 0, 0) + request)
        while True:
            answer = kernel.recv(_RECEIVE)
            while answer:
                length, kind, _flags, _sequence, _pid = _HEADER.unpack_from(answer)
                if kind == _DONE:
                    return
                if kind == _ERROR:
                    (code,) = struct.unpack_from("=i", answer, _HEADER.size)
                    raise OSError(-code, "the kernel does not tell of its connections")
                yield _connection(answer[_HEADER.size : length])
                answer = answer[length + -length % 4 :]


def _connection(message: bytes) -> tuple[int, int, int]:
    here, there = _PORTS.unpack_from(message, 4)
    place, acked = _MESSAGE_BYTES, 0
    while place + _ATTRIBUTE.size <= len(message):
        length, kind = _ATTRIBUTE.unpack_from(message, place)
        value = message[place + _ATTRIBUTE.size : place + length]
        if kind == _INET_DIAG_INFO and len(value) >= _BYTES_ACKED + 8:
            (acked,) = struct.unpack_from("=Q", value, _BYTES_ACKED)
        place += length + -length % 4
    return here, there, acked
