"""What commands print: plain lines and tables for people, one JSON object for programs.

Results go to standard output, what is said meanwhile to standard error, so that the output of
``--json`` can be piped. Whatever is printed about a rehearsal carries the word: the first line of a
result for people, the field ``rehearsal`` for programs, and the beginning of every other line; for
an error's line the root of the command line asks `Session`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Annotated, Any, Protocol

import typer

from network.text import visible

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]

Wait = Annotated[
    float, typer.Option("--wait", min=0.1, help="Seconds that a node may take until it serves.")
]

REHEARSAL = "REHEARSAL"
_WIDEST = 1000


class Session(Protocol):
    """What one run of the command line knows of itself: the object of its root context.

    Attributes:
        rehearsal: whether it speaks of a rehearsal.
    """

    rehearsal: bool


@dataclass
class Terminal:
    """Where one command prints.

    Attributes:
        as_json: print one JSON object instead of text.
        session: of this run of the command line.
    """

    as_json: bool
    session: Session = field(default_factory=lambda: SimpleNamespace(rehearsal=False))

    @classmethod
    def of(cls, context: typer.Context, as_json: bool) -> Terminal:
        """Return the terminal of a command."""
        session: Session | None = context.find_root().obj
        return cls(as_json) if session is None else cls(as_json, session)

    def speak_of_rehearsal(self, rehearsal: bool) -> None:
        """Say from now on that all this is a rehearsal, if it is one."""
        self.session.rehearsal = self.session.rehearsal or rehearsal

    def progress(self, line: str) -> None:
        """Say what is being done, on standard error."""
        typer.echo(f"{self._mark}{visible(line)}", err=True)

    def warn(self, line: str) -> None:
        """Say what the reader should look at, on standard error."""
        typer.echo(f"{self._mark}warning: {visible(line)}", err=True)

    def result(self, value: Mapping[str, Any], lines: Iterable[str]) -> None:
        """Print the result of a command: *value* for programs, *lines* for people."""
        if self.as_json:
            shown = {"rehearsal": True, **value} if self.session.rehearsal else dict(value)
            typer.echo(json.dumps(shown, ensure_ascii=False, indent=2))
            return
        if self.session.rehearsal:
            typer.echo(f"{REHEARSAL}: its operator sets the time, and nothing leaves it")
        for line in lines:
            typer.echo(visible(line))

    def table(
        self, value: Mapping[str, Any], heads: Sequence[str], rows: Iterable[Sequence[str]]
    ) -> None:
        """Print a table as the result of a command."""
        self.result(value, [] if self.as_json else _drawn(heads, rows))

    @property
    def _mark(self) -> str:
        return f"{REHEARSAL}: " if self.session.rehearsal else ""


def _drawn(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table; cells are shown whole, whatever the terminal's width."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*heads, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*row)
    # What a console measures never exceeds its own width, so it gets more than any table needs.
    console = Console(width=_WIDEST, markup=False, highlight=False)
    with console.capture() as capture:
        console.print(table)
    return [line.rstrip() for line in capture.get().splitlines()]
