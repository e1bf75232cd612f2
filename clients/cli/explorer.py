"""``qist block``, ``qist tx`` and ``qist history``: what stands in the chain."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any

import typer

from clients.cli.calling import Caller, command
from clients.cli.terminal import fields
from clients.explorer.chain import NEWEST
from clients.explorer.conflicts import find_conflict
from clients.explorer.views import block_view, change_view, transaction_view
from ledger.errors import Refusal
from ledger.transactions.codes import TxValidationCode

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Blocks, transactions and histories of keys."
)

_HASH = re.compile(r"[0-9a-f]{64}")


@command(app, "block")
def block(
    caller: Caller,
    which: Annotated[
        str, typer.Argument(help="Number, 'newest', or the hash of its header.")
    ] = "newest",
) -> None:
    """Show a block: its hashes and its transactions with their verdicts."""
    chain = caller.chain
    if which == "newest":
        found = chain.block(NEWEST)
    elif which.isascii() and which.isdigit() and len(which) < 20:
        found = chain.block(int(which))
    elif _HASH.fullmatch(which.lower()):
        found = chain.block_by_hash(bytes.fromhex(which))
    else:
        raise Refusal("name a block by its number, by 'newest', or by 64 hex digits of its hash")
    view = block_view(found)
    head = fields({name: value for name, value in view.items() if name != "transactions"})
    lines = [
        f"  {each['tx_id'] or '-'}  {each['code']}  {each['chaincode']} {each['function']}  "
        f"{each['creator']}"
        for each in view["transactions"]
    ]
    caller.terminal.result(view, [*head, *lines])


@command(app, "tx")
def tx(
    caller: Caller, tx_id: Annotated[str, typer.Argument(help="Its id, 64 hex digits.")]
) -> None:
    """Show a transaction: who, what, when, its verdict and why, what it read and wrote."""
    chain = caller.chain
    found = chain.transaction(tx_id)
    conflict = find_conflict(found, chain.block)
    view = transaction_view(found, str(conflict) if conflict else "")
    caller.terminal.result(view, _transaction_lines(view))
    if found.code is not TxValidationCode.VALID and not caller.terminal.as_json:
        caller.terminal.note("invalid: nothing of what it would have written took effect")


@command(app, "history")
def history(
    caller: Caller,
    namespace: Annotated[str, typer.Argument(help="As instalments.")],
    key: Annotated[str, typer.Argument(help="As agreement/AG-17.")],
    from_block: Annotated[int, typer.Option(help="First block that is looked through.")] = 0,
) -> None:
    """Show everything that valid transactions wrote to a key, oldest first."""
    changes = [change_view(each) for each in caller.chain.history(namespace, key, from_block)]
    caller.terminal.table(
        {"namespace": namespace, "key": key, "changes": changes},
        ("block", "time", "transaction", "value"),
        [(each["block_num"], each["at"], each["tx_id"], _short(each["value"])) for each in changes],
    )


def _short(value: object) -> object:
    return "(deleted)" if value is None else value


def _transaction_lines(view: dict[str, Any]) -> list[str]:
    parts = ("arguments", "reads", "ranges", "writes")
    lines = fields({name: value for name, value in view.items() if name not in parts})
    lines += [f"argument  {json.dumps(each, ensure_ascii=False)}" for each in view["arguments"]]
    for read in view["reads"]:
        version = ".".join(map(str, read["version"])) if read["version"] else "absent"
        lines.append(f"read      {read['namespace']} {_plain(read['key'])} at {version}")
    for each in view["ranges"]:
        start, end = _plain(each["start"]), _plain(each["end"])
        lines.append(f"range     {each['namespace']} from {start} to {end}")
    for write in view["writes"]:
        value = json.dumps(_short(write["value"]), ensure_ascii=False)
        lines.append(f"wrote     {write['namespace']} {_plain(write['key'])} = {value}")
    return lines


def _plain(key: str) -> str:
    """A key without the marks of composite keys."""
    return key.replace("\x00", "/").replace("\U0010ffff", "…").strip("/")
