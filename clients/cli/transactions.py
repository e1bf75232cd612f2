"""``qist submit`` and ``qist evaluate``: one call of any function of any contract.

A result that is JSON is shown as JSON, any other as text. What is given as transient data does not
reach a block; it is read from a file or from standard input, so that it does not stand in the
shell's history either.
"""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from clients.cli.session import (
    AsJson,
    Channel,
    EndorsedBy,
    Profile,
    Time,
    User,
    connect,
    contract_of,
)
from clients.gateway.profile import load_profile
from ledger.errors import Refusal

app = typer.Typer(no_args_is_help=True, help="Call any function of any contract.")

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


@app.command("submit")
def submit(
    contract: ContractName,
    function: Function,
    profile: Profile,
    user: User,
    arguments: Arguments = None,
    transient: TransientFile = None,
    endorsed_by: EndorsedBy = None,
    channel: Channel = "",
    time: Time = "",
    as_json: AsJson = False,
) -> None:
    """Submit a transaction and wait until it is committed as valid."""
    loaded = load_profile(profile)
    beside = _transient(transient)
    with connect(loaded, user, time) as gateway:
        outcome = contract_of(gateway, loaded, channel, contract).submit(
            function,
            *(arguments or ()),
            transient=beside,
            endorsing_organisations=endorsed_by or (),
        )
    status = outcome.status
    result = readable(outcome.result)
    value = {"tx_id": status.tx_id, "block_num": status.block_num, "result": result}
    if as_json:
        typer.echo(json.dumps(value, ensure_ascii=False, indent=2))
        return
    typer.echo(f"committed in block {status.block_num} as {status.tx_id}")
    _show(result)


@app.command("evaluate")
def evaluate(
    contract: ContractName,
    function: Function,
    profile: Profile,
    user: User,
    arguments: Arguments = None,
    transient: TransientFile = None,
    channel: Channel = "",
    time: Time = "",
    as_json: AsJson = False,
) -> None:
    """Run a query on the member's own node."""
    loaded = load_profile(profile)
    beside = _transient(transient)
    with connect(loaded, user, time) as gateway:
        raw = contract_of(gateway, loaded, channel, contract).evaluate(
            function, *(arguments or ()), transient=beside
        )
    result = readable(raw)
    if as_json:
        typer.echo(json.dumps({"result": result}, ensure_ascii=False, indent=2))
        return
    _show(result)


def readable(raw: bytes) -> Any:
    """Return a result as JSON values if it is JSON, else as text, else in base64."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return base64.b64encode(raw).decode("ascii")
    try:
        return json.loads(text) if text else None
    except ValueError:
        return text


def _show(result: Any) -> None:
    if isinstance(result, str):
        typer.echo(result)
    elif result is not None:
        typer.echo(json.dumps(result, ensure_ascii=False, indent=2))


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
