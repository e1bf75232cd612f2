"""A node's process that runs the contract of private terms, and can record all that it says.

    python -m tests.support.terms_node FOLDER [RECORD]

It is a node as it always is, but for its contracts, which are a test's. With RECORD, every message
that its gRPC servers and connections take or give is appended to that file as the application sees
it, after and before TLS: length, direction and method, message.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc

from chaincode.simulator import ContractChaincode
from nodes.channel import Channel
from nodes.cli.node_process import LOG_FILE, StartedNode
from nodes.configuration import load_configuration
from nodes.node import Node
from nodes.operations.logs import start_logging
from tests.support.local_network import VERSION, FixedContracts
from tests.support.terms_contract import Terms

ROOT = Path(__file__).parents[2]
CALLS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")


class Recorder:
    """Writes messages down.

    Args:
        path: the file, which is appended to.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)

    def listen(self) -> None:
        """Hear of every message of this process from now on; to be called before gRPC is used."""
        server_kind: Any = grpc.aio.server
        channel_kind: Any = grpc.aio.secure_channel

        def server(*args: Any, **options: Any) -> Any:
            made = server_kind(*args, **options)
            add = made.add_generic_rpc_handlers
            made.add_generic_rpc_handlers = lambda handlers: add(
                tuple(_RecordingHandler(each, self) for each in handlers)
            )
            return made

        def secure_channel(*args: Any, **options: Any) -> Any:
            made = channel_kind(*args, **options)
            for name in CALLS:
                setattr(made, name, self._calls(getattr(made, name)))
            return made

        grpc.aio.server = server
        grpc.aio.secure_channel = secure_channel

    def _calls(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def recorded(
            method: str,
            request_serializer: Any = None,
            response_deserializer: Any = None,
            **rest: Any,
        ) -> Any:
            return call(
                method,
                request_serializer=self.given(f"to {method}", request_serializer),
                response_deserializer=self.taken(f"from {method}", response_deserializer),
                **rest,
            )

        return recorded

    def given(self, where: str, encode: Callable[[Any], bytes] | None) -> Callable[[Any], bytes]:
        """An encoder that writes down what it makes."""

        def encode_and_record(message: Any) -> bytes:
            raw = bytes(message) if encode is None else encode(message)
            self._write(where, raw)
            return raw

        return encode_and_record

    def taken(self, where: str, decode: Callable[[bytes], Any] | None) -> Callable[[bytes], Any]:
        """A decoder that writes down what it reads."""

        def record_and_decode(raw: bytes) -> Any:
            self._write(where, raw)
            return raw if decode is None else decode(raw)

        return record_and_decode

    def _write(self, where: str, raw: bytes) -> None:
        head = where.encode()
        os.write(
            self._file.fileno(),
            len(raw).to_bytes(8, "big") + len(head).to_bytes(2, "big") + head + raw,
        )


class _RecordingHandler(grpc.GenericRpcHandler):
    def __init__(self, inner: Any, recorder: Recorder) -> None:
        self._inner = inner
        self._recorder = recorder

    def service(self, handler_call_details: Any) -> Any:
        handler = self._inner.service(handler_call_details)
        if handler is None:
            return None
        asked = f"asked {handler_call_details.method}"
        answered = f"answered {handler_call_details.method}"
        return handler._replace(
            request_deserializer=self._recorder.taken(asked, handler.request_deserializer),
            response_serializer=self._recorder.given(answered, handler.response_serializer),
        )


def start_terms_node(folder: Path, record: Path | None = None) -> StartedNode:
    """Start the node of *folder* in the background; returns at once."""
    place = folder.resolve()
    arguments = [str(place)] if record is None else [str(place), str(record.resolve())]
    with (place / LOG_FILE).open("ab") as output:
        size = output.tell()
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, *arguments],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    return StartedNode(folder, process, size)


def _contracts(folder: Path, channel: Channel) -> FixedContracts:
    msp_id = load_configuration(folder).msp_id
    return FixedContracts(msp_id, [ContractChaincode(Terms(), VERSION)], channel)


async def _serve(node: Node) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, node.request_stop)
    await node.serve()


def main(folder: Path, record: Path | None) -> None:
    """Run the node of *folder* in this process."""
    # From there the path of its socket is short, however deep the folder lies.
    os.chdir(folder)
    start_logging(folder.name, "info")
    if record is not None:
        Recorder(record).listen()
    asyncio.run(_serve(Node.open(folder, contracts=_contracts)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
