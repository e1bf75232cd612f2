"""The public face of Qist: the names that programs of third parties may import, and the command.

Programs import from here and from nowhere else: the five packages beside this module carry generic
names and may move (docs/adr/0011-import-names.md). Nothing inside the five packages imports this
module.

The names are imported when they are asked for, and the modules of a command when it is called, so
that ``import qist`` and ``qist --help`` cost nothing. This is also the edge of the process: every
error of ours becomes one line and an exit code here, in one table.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import typer

    from clients.fabric_sdk_py.client import FabricClient
    from clients.gateway.asynchronous import AsyncContract, AsyncGateway, AsyncNetwork
    from clients.gateway.blocking import Contract, Gateway, Network
    from clients.gateway.bulk import BulkOutcome, BulkPart
    from clients.gateway.connection import Endpoint, Timeouts
    from clients.gateway.errors import (
        CommitError,
        CommitStatusError,
        EndorseError,
        ErrorDetail,
        EvaluateError,
        EventsError,
        GatewayError,
        GatewayUnreachable,
        ProfileError,
        SubmitError,
    )
    from clients.gateway.events import (
        ChaincodeEvent,
        FileCheckpointer,
        InMemoryCheckpointer,
    )
    from clients.gateway.identity import OfflineIdentity
    from clients.gateway.operations import CommitStatus, Outcome
    from clients.gateway.profile import ConnectionProfile, load_profile
    from clients.gateway.retry import RetryPolicy
    from ledger.errors import LedgerError, Refusal, Unavailable
    from ledger.transactions.codes import TxValidationCode
    from network.msp import SigningIdentity

__all__ = [
    "AsyncContract",
    "AsyncGateway",
    "AsyncNetwork",
    "BulkOutcome",
    "BulkPart",
    "ChaincodeEvent",
    "CommitError",
    "CommitStatus",
    "CommitStatusError",
    "ConnectionProfile",
    "Contract",
    "EndorseError",
    "Endpoint",
    "ErrorDetail",
    "EvaluateError",
    "EventsError",
    "FabricClient",
    "FileCheckpointer",
    "Gateway",
    "GatewayError",
    "GatewayUnreachable",
    "InMemoryCheckpointer",
    "LedgerError",
    "Network",
    "OfflineIdentity",
    "Outcome",
    "ProfileError",
    "Refusal",
    "RetryPolicy",
    "SigningIdentity",
    "SubmitError",
    "Timeouts",
    "TxValidationCode",
    "Unavailable",
    "load_profile",
    "main",
]

_NAMES = {
    "clients.gateway.asynchronous": ("AsyncContract", "AsyncGateway", "AsyncNetwork"),
    "clients.fabric_sdk_py.client": ("FabricClient",),
    "clients.gateway.blocking": ("Contract", "Gateway", "Network"),
    "clients.gateway.bulk": ("BulkOutcome", "BulkPart"),
    "clients.gateway.connection": ("Endpoint", "Timeouts"),
    "clients.gateway.errors": (
        "CommitError",
        "CommitStatusError",
        "EndorseError",
        "ErrorDetail",
        "EvaluateError",
        "EventsError",
        "GatewayError",
        "GatewayUnreachable",
        "ProfileError",
        "SubmitError",
    ),
    "clients.gateway.events": ("ChaincodeEvent", "FileCheckpointer", "InMemoryCheckpointer"),
    "clients.gateway.identity": ("OfflineIdentity",),
    "clients.gateway.operations": ("CommitStatus", "Outcome"),
    "clients.gateway.profile": ("ConnectionProfile", "load_profile"),
    "clients.gateway.retry": ("RetryPolicy",),
    "ledger.errors": ("LedgerError", "Refusal", "Unavailable"),
    "ledger.transactions.codes": ("TxValidationCode",),
    "network.msp": ("SigningIdentity",),
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names}

_COMMANDS = {
    "org": ("nodes.cli.organisations", "A member's authorities, nodes and users."),
    "channel": ("clients.cli.channel", "A channel's genesis block and configuration, changed."),
    "node": ("nodes.cli.node", "Create, join, run, watch and save one node."),
    "network": ("nodes.cli.networks", "A whole network of several members on this machine."),
    "contract": ("clients.cli.approvals", "The contracts that a channel has."),
    "submit": ("clients.cli.transactions", "Submit a transaction to a contract."),
    "evaluate": ("clients.cli.transactions", "Ask a contract."),
    "history": ("clients.cli.explorer", "Everything that was written to a key."),
    "block": ("clients.cli.explorer", "A block and its transactions."),
    "tx": ("clients.cli.explorer", "A transaction: its verdict and why, what it read and wrote."),
    "case": ("clients.cli.cases", "Cases: notice, proposal, votes, holds, the end."),
    "order": ("clients.cli.orders", "Block orders, releases and their receipts."),
    "import": ("clients.cli.imports", "Import nightly files."),
    "rehearse": ("clients.rehearsal.command", "Try a policy on past months of a portfolio."),
    "blocks": ("clients.cli.blocks", "Fetch a channel's blocks from a peer, ours or Fabric's."),
    "replay": ("nodes.cli.replay", "Audit a Fabric channel: replay its blocks and compare."),
    "fsck": ("nodes.cli.fsck", "Check everything that a stopped node has stored."),
}
"""Word, the module whose `app` serves it, and what it is for.

An application may serve several words: each then is a command of it.
"""

_MORE = {
    "channel": ("nodes.cli.channels",),
    "contract": ("nodes.cli.contract_packages",),
    "node": ("nodes.cli.node_consensus", "nodes.cli.node_identity"),
    "org": ("nodes.cli.organisation_consensus",),
}
"""Modules whose commands are added to those of a word."""

_LATER = {"UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "CANCELLED"}

OK = 0
REFUSED = 1
USAGE = 2
UNAVAILABLE = 3
FATAL = 4
INTERNAL = 70
INTERRUPTED = 130


def __getattr__(name: str) -> Any:
    """Import a public name when it is asked for."""
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)


def command_line() -> Any:
    """Return the root of the commands; what serves a command is imported when it is called."""
    import typer
    from typer.core import TyperCommand
    from typer.main import get_command

    class Mounted(TyperCommand):
        """A word of the command line whose module has not been imported yet."""

        def make_context(
            self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any
        ) -> Any:
            """Go on in the command that stands behind the word."""
            word = str(self.name)
            application: typer.Typer = import_module(_COMMANDS[word][0]).app
            command: Any = get_command(application)
            command = getattr(command, "commands", {}).get(word, command)
            for module in _MORE.get(word, ()):
                added: Any = get_command(import_module(module).app)
                command.commands.update(added.commands)
            return command.make_context(info_name, args, parent, **extra)

    def root(
        version: bool = typer.Option(
            False,
            "--version",
            is_eager=True,
            callback=_show_version,
            help="Show the installed version and exit.",
        ),
    ) -> None:
        """Qist: a permissioned ledger for smartphone instalments."""

    application = typer.Typer(name="qist", no_args_is_help=True, add_completion=False)
    application.callback()(root)
    group: Any = get_command(application)
    for word, (_module, text) in _COMMANDS.items():
        group.add_command(Mounted(name=word, help=text))
    return group


def _show_version(asked: bool) -> None:
    if asked:
        import typer

        from nodes.operations.status import program_version

        typer.echo(f"qist {program_version()}")
        raise typer.Exit


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code of the process.

    Args:
        arguments: those of the process if left out.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    # Commands set its `rehearsal` when they learn that they speak of one.
    session = SimpleNamespace(rehearsal=False)
    try:
        command_line().main(args=given, prog_name="qist", obj=session)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else OK if end.code is None else REFUSED
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 -- the edge of the process
        code, kind, message = _judged(error)
        _report(message, kind, as_json="--json" in given, rehearsal=session.rehearsal)
        return code
    return OK


def _judged(error: Exception) -> tuple[int, str, str]:
    """Return exit code, kind and message of what a command ended with."""
    from ledger.errors import Fatal, LedgerError, Unavailable

    match error:
        case Fatal():
            return FATAL, "fatal", str(error)
        case Unavailable():
            return UNAVAILABLE, "unavailable", str(error)
        case LedgerError() if _may_succeed_later(error):
            return UNAVAILABLE, "unavailable", str(error)
        case LedgerError():
            return REFUSED, "refused", str(error)
        case OSError():
            where = f"{error.filename}: " if error.filename else ""
            return REFUSED, "refused", f"{where}{error.strerror or error}"
    place = _place_of(error)
    # The error's own words may hold a record; its kind and place are enough to find it.
    return INTERNAL, "internal", f"a mistake of Qist: {type(error).__name__} at {place}; report it"


def _may_succeed_later(error: Any) -> bool:
    """Tell of a gateway's error whether its status, or an open outcome, leaves room for more."""
    status = getattr(getattr(error, "code", None), "name", "")
    return status in _LATER or not getattr(error, "outcome_definite", True)


def _place_of(error: Exception) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "an unknown place"
    file = os.path.relpath(trace.tb_frame.f_code.co_filename, os.path.dirname(__file__) or ".")
    return f"{file}:{trace.tb_lineno}"


def _report(message: str, kind: str, *, as_json: bool, rehearsal: bool) -> None:
    if as_json:
        error: dict[str, object] = {"error": {"kind": kind, "message": message}}
        if rehearsal:
            error["rehearsal"] = True
        sys.stderr.write(json.dumps(error, ensure_ascii=False) + "\n")
        return
    from network.text import visible

    sys.stderr.write(f"{'REHEARSAL: ' if rehearsal else ''}qist: {visible(message)}\n")


if __name__ == "__main__":
    sys.exit(main())
