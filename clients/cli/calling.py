"""How a command of a person or program calls the contracts, and what all such commands share.

``@command(app, "show")`` makes a command of a function whose first parameter is a `Caller`; its
other parameters are the command's own, and profile, user, channel, time and ``--json`` are added to
each. The gateway is connected when it is first needed and closed at the end.

Exit codes (docs/howto/use-the-commands.md): a bulk function of which a record was refused ends with
1, after its verdicts were printed.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Concatenate, Final, ParamSpec, get_type_hints

import typer

from clients.cli import session
from clients.cli.terminal import Terminal, fields
from clients.explorer.chain import Chain
from clients.gateway.blocking import Contract, Gateway
from clients.gateway.operations import Outcome
from clients.gateway.profile import ConnectionProfile, load_profile
from clients.gateway.retry import RetryPolicy
from ledger.errors import Refusal
from network.msp import SigningIdentity

INSTALMENTS: Final = "instalments"
ENFORCEMENT: Final = "enforcement"
PAGE: Final = 500
REFUSED: Final = 1
# The consortium's functions write nothing twice, so a conflict is met by another endorsement.
IDEMPOTENT: Final = RetryPolicy()
_SHARED: Final[dict[str, tuple[Any, Any]]] = {
    "profile": (session.Profile, inspect.Parameter.empty),
    "user": (session.User, inspect.Parameter.empty),
    "channel": (session.Channel, ""),
    "at": (session.Time, ""),
    "as_json": (session.AsJson, False),
}
_ALONE: Final[dict[str, tuple[Any, Any]]] = {
    "profile": (session.OptionalProfile, None),
    "user": (session.User, ""),
}
P = ParamSpec("P")


class Caller:
    """One person or program at one gateway, for the length of one command."""

    def __init__(
        self, stack: ExitStack, profile: ConnectionProfile | None, user: str, channel: str, at: str
    ) -> None:
        self._stack = stack
        self._gateway: Gateway | None = None
        self._at = at
        self._profile = profile
        self.user = user
        self.terminal = Terminal(False, bool(at))
        self._channel = channel

    @property
    def profile(self) -> ConnectionProfile:
        """The member's profile.

        Raises:
            Refusal: none was given, to a command that does not always need one.
        """
        if self._profile is None:
            raise Refusal("a node is asked for this: give --profile and --user")
        return self._profile

    @property
    def has_profile(self) -> bool:
        """Whether a node can be asked."""
        return self._profile is not None

    @property
    def signer(self) -> SigningIdentity:
        """The user's identity and key."""
        return self.profile.user(self.user)

    @property
    def channel_id(self) -> str:
        """The channel that was named, or the profile's first one."""
        return session.channel_of(self.profile, self._channel)

    @property
    def clock(self) -> Callable[[], Any] | None:
        """The rehearsal's time, None for the machine's."""
        if not self._at:
            return None
        moment = session.parse_time(self._at)
        return lambda: moment

    @property
    def gateway(self) -> Gateway:
        """The member's gateway, connected when it is first asked for."""
        if self._gateway is None:
            self._gateway = self._stack.enter_context(
                session.connect(self.profile, self.user, self._at)
            )
        return self._gateway

    def contract(self, chaincode: str) -> Contract:
        """A contract of the channel."""
        return self.gateway.network(self.channel_id).contract(chaincode)

    @property
    def chain(self) -> Chain:
        """The channel's blocks."""
        return Chain(self.gateway.network(self.channel_id))

    def evaluate(self, namespace: str, function: str, *arguments: str) -> Any:
        """Ask a query of the consortium's contracts, whose answers are JSON."""
        raw = self.contract(namespace).evaluate(function, *arguments)
        return json.loads(raw) if raw else None

    def pages(self, namespace: str, function: str, rows: str, *arguments: str) -> Iterator[Any]:
        """The rows of a query that answers page by page, *rows* being the name of the list."""
        bookmark = ""
        while True:
            page = self.evaluate(namespace, function, *arguments, str(PAGE), bookmark)
            yield from page[rows]
            bookmark = page["bookmark"]
            if not bookmark:
                return

    def submit(self, namespace: str, function: str, *arguments: str) -> Outcome:
        """Submit a transaction that writes nothing twice."""
        return self.contract(namespace).submit(function, *arguments, retry=IDEMPOTENT)

    def submit_records(self, namespace: str, function: str, records: Sequence[Any]) -> None:
        """Submit records through a bulk function, and print the verdict on each.

        Ends the command with exit code 1 if one was refused.
        """
        done = self.contract(namespace).submit_bulk(function, records, retry=IDEMPOTENT)
        verdicts: list[dict[str, Any]] = []
        transactions: list[dict[str, Any]] = []
        for part in done.parts:
            if part.outcome is not None:
                verdicts += json.loads(part.outcome.result)["verdicts"]
                status = part.outcome.status
                transactions.append({"tx_id": status.tx_id, "block_num": status.block_num})
        self.terminal.result(
            {"verdicts": verdicts, "transactions": transactions}, map(_verdict_line, verdicts)
        )
        done.raise_for_error()
        if not all(each["ok"] for each in verdicts):
            raise typer.Exit(REFUSED)

    def show(self, value: Mapping[str, Any]) -> None:
        """Print an object."""
        self.terminal.result(value, fields(value))


def command(
    app: typer.Typer, name: str, *, alone: bool = False
) -> Callable[[Callable[Concatenate[Caller, P], None]], Callable[Concatenate[Caller, P], None]]:
    """Register a function as a command; see the module's docstring.

    Args:
        app: it becomes a command of.
        name: its word.
        alone: whether it may do without a node, and so without profile and user.
    """

    def register(
        function: Callable[Concatenate[Caller, P], None],
    ) -> Callable[Concatenate[Caller, P], None]:
        hints = get_type_hints(function, include_extras=True)
        own = list(inspect.signature(function).parameters.values())[1:]

        def run(context: typer.Context, **given: Any) -> None:
            shared = {shared_name: given.pop(shared_name) for shared_name in _SHARED}
            profile = shared["profile"]
            _tell_root(context, bool(shared["at"]))
            with ExitStack() as stack:
                caller = Caller(
                    stack,
                    None if profile is None else load_profile(profile),
                    shared["user"],
                    shared["channel"],
                    shared["at"],
                )
                caller.terminal.as_json = shared["as_json"]
                function(caller, **given)  # type: ignore[call-arg]  # parameters of *function*

        added = [
            inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context),
            *(
                each.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[each.name])
                for each in own
            ),
            *(
                inspect.Parameter(
                    shared_name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind
                )
                for shared_name, (kind, default) in (_SHARED | (_ALONE if alone else {})).items()
            ),
        ]
        run.__signature__ = inspect.Signature(added)  # type: ignore[attr-defined]  # typer reads it
        run.__annotations__ = {each.name: each.annotation for each in added}
        run.__doc__ = function.__doc__
        app.command(name)(run)
        return function

    return register


def _tell_root(context: typer.Context, is_rehearsal: bool) -> None:
    """Let the root of the command line mark its error line too."""
    root = context.find_root().obj
    if is_rehearsal and hasattr(root, "rehearsal"):
        root.rehearsal = True


def _verdict_line(verdict: Mapping[str, Any]) -> str:
    if not verdict["ok"]:
        return f"refused  {verdict['message']}"
    written = "" if verdict["written"] else " (stood already)"
    about = f" {verdict['case']}" if verdict.get("case") else ""
    return f"ok       {verdict['id']}{about} {verdict.get('state', '')}{written}".rstrip()
