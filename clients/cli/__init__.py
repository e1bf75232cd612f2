"""The commands that talk to a node as a client does; `qist.py` mounts them, see its `_COMMANDS`.

``clients.cli.app`` is all of them in one typer application, for programs that mount them elsewhere.
It is made when it is asked for, so that one command does not import the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import typer

    app: typer.Typer


def __getattr__(name: str) -> Any:
    """Make the application when it is asked for."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import typer

    from clients.cli import approvals, cases, channel, explorer, imports, orders, transactions

    application = typer.Typer(no_args_is_help=True, help="Talk to a node as a member's user.")
    for flat in (transactions, explorer):
        application.add_typer(flat.app)
    for word, module in (
        ("channel", channel),
        ("contract", approvals),
        ("case", cases),
        ("order", orders),
        ("import", imports),
    ):
        application.add_typer(module.app, name=word)
    globals()["app"] = application
    return application
