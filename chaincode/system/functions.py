"""What the contracts of the system have in common: named functions over raw arguments.

They take protobuf or plain text where contracts take JSON, since Fabric's clients and tools call
them. Refusals keep Fabric's words with a status that tells a definite refusal from a fault: 400 for
what was asked wrongly, 404 for what is not there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from google.protobuf.message import DecodeError

from chaincode.contract.context import Context
from chaincode.contract.stub import Response
from chaincode.errors import ContractRefusal

VERSION: Final = "syscc"
"""The version that responses of contracts of the system state (Fabric)."""

Function = Callable[[Context, Sequence[bytes]], bytes]
"""From the context and the arguments behind the function's name to the payload."""


class SystemChaincode:
    """A contract of the system, made of its functions."""

    version = VERSION
    is_system = True
    init_required = False

    def __init__(
        self, name: str, queries: Mapping[str, Function], writers: Mapping[str, Function]
    ) -> None:
        self.name = name
        self._queries = queries
        self._writers = writers

    def reads_only(self, args: Sequence[bytes]) -> bool:
        """Say whether the called function is a query."""
        name = self._called(args)
        return name in self._queries

    def invoke(self, ctx: Context, args: Sequence[bytes]) -> Response:
        """Run the called function."""
        name = self._called(args)
        function = self._queries.get(name) or self._writers[name]
        return Response(200, "", function(ctx, args[1:]))

    def _called(self, args: Sequence[bytes]) -> str:
        name = args[0].decode("utf-8", "replace") if args else ""
        if name not in self._queries and name not in self._writers:
            offered = ", ".join(sorted((*self._queries, *self._writers)))
            shown = name if len(name) <= 80 and name.isprintable() else "of that name"
            raise ContractRefusal(
                self.name, f"Requested function {shown} not found", f"it offers {offered}",
                status=404,
            )  # fmt: skip
        return name


def decode_argument(kind: Any, args: Sequence[bytes]) -> Any:
    """Return the one argument of a call as a message of *kind*.

    Raises:
        ContractRefusal: there is another number of arguments, or it is no such message.
    """
    if len(args) != 1:
        raise ContractRefusal(
            "the call", f"requires exactly one argument but received {len(args)}",
            f"marshal {kind.DESCRIPTOR.full_name}",
        )  # fmt: skip
    try:
        return kind.FromString(args[0])
    except DecodeError:
        raise ContractRefusal(
            "the argument", "failed to decode input arg", f"marshal {kind.DESCRIPTOR.full_name}"
        ) from None


def verify_channel(ctx: Context, args: Sequence[bytes]) -> None:
    """Check that the first argument names the channel of the proposal, as Fabric's clients send it.

    Raises:
        ContractRefusal: it is missing, or another channel.
    """
    if not args:
        raise ContractRefusal(
            "the query", "Incorrect number of arguments, 1", "name the channel in the second one"
        )
    asked = args[0].decode("utf-8", "replace")
    if asked != ctx.channel_id:
        shown = asked if len(asked) <= 80 and asked.isprintable() else "of that name"
        raise ContractRefusal(
            "the query",
            f"Invalid chain ID, {shown}",
            f"the proposal is for channel {ctx.channel_id}",
            status=404,
        )
