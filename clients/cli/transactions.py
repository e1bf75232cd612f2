"""``qist submit`` and ``qist evaluate``: one call of any function of any contract.

A result that is JSON is shown as JSON, any other as text. What is given as transient data does not
reach a block; it is read from a file or from standard input, so that it does not stand in the
shell's history either.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from clients.cli.calling import IDEMPOTENT, Caller, command
from clients.cli.session import EndorsedBy
from clients.explorer.views import shown
from ledger.errors import Refusal

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Call any function of any contract."
)

ContractName = Annotated[str, typer.Argument(metavar="CONTRACT", help="As enforcement.")]
Function = Annotated[str, typer.Argument(metavar="FUNCTION", help="As Members.")]
Arguments = Annotated[
    list[str] | None, typer.Argument(metavar="[ARGUMENT]...", help="In the function's order.")
]
TransientFile = Annotated[
    Path | None,
    typer.Option(
        "--transient", help="JSON file with one entry a transient name; - reads standard input."
    ),
]
Idempotent = Annotated[
    bool,
    typer.Option(
        "--idempotent", help="It may be made twice: endorse it again when it meets a conflict."
    ),
]


@command(app, "submit")
def submit(
    caller: Caller,
    contract: ContractName,
    function: Function,
    arguments: Arguments = None,
    transient: TransientFile = None,
    endorsed_by: EndorsedBy = None,
    idempotent: Idempotent = False,
    init: Annotated[
        bool,
        typer.Option("--init", help="It initialises a contract whose definition asks for that."),
    ] = False,
) -> None:
    """Submit a transaction and wait until it is committed as valid."""
    outcome = caller.contract(contract).submit(
        function,
        *(arguments or ()),
        transient=_transient(transient),
        endorsing_organisations=endorsed_by or (),
        retry=IDEMPOTENT if idempotent else None,
        is_init=init,
    )
    status = outcome.status
    result = readable(outcome.result)
    caller.terminal.result(
        {"tx_id": status.tx_id, "block_num": status.block_num, "result": result},
        [f"committed in block {status.block_num} as {status.tx_id}", *_lines(result)],
    )


@command(app, "evaluate")
def evaluate(
    caller: Caller,
    contract: ContractName,
    function: Function,
    arguments: Arguments = None,
    transient: TransientFile = None,
) -> None:
    """Run a query on the member's own node."""
    raw = caller.contract(contract).evaluate(
        function, *(arguments or ()), transient=_transient(transient)
    )
    result = readable(raw)
    caller.terminal.result({"result": result}, _lines(result))


def readable(raw: bytes) -> Any:
    """Return a result as JSON values if it is JSON, else as text, else in base64; None if empty."""
    return shown(raw) if raw else None


def _lines(result: Any) -> list[str]:
    if result is None:
        return []
    if isinstance(result, str):
        return [result]
    return [json.dumps(result, ensure_ascii=False, indent=2)]


def _transient(source: Path | None) -> dict[str, bytes] | None:
    """Return the transient data of a file; strings as they are, everything else as JSON."""
    if source is None:
        return None
    text = sys.stdin.read() if str(source) == "-" else source.read_text("utf-8")
    try:
        content = json.loads(text)
    except ValueError:
        # The parser's own words would repeat what must not be seen.
        raise Refusal(f"the transient data in {source} are not JSON") from None
    if not isinstance(content, dict):
        raise Refusal(f"the transient data in {source} must be a JSON object, one entry a name")
    return {
        name: (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)).encode()
        for name, value in content.items()
    }
