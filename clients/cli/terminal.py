"""What client commands print: plain lines and tables for people, one JSON object for programs.

Results go to standard output, everything else to standard error. Whatever is printed about a
rehearsal carries the word: a first line for people, the field ``rehearsal`` for programs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import typer

from network.text import visible


@dataclass
class Terminal:
    """Where one command prints.

    Attributes:
        as_json: print one JSON object instead of text.
        is_rehearsal: whether it speaks of a rehearsal.
    """

    as_json: bool
    is_rehearsal: bool
    _said: bool = field(default=False, init=False)

    def note(self, line: str) -> None:
        """Say what the reader should know, on standard error."""
        self._banner()
        typer.echo(visible(line), err=True)

    def result(self, value: Mapping[str, Any], lines: Iterable[str]) -> None:
        """Print a result: *value* for programs, *lines* for people."""
        if self.as_json:
            shown = {"rehearsal": True, **value} if self.is_rehearsal else dict(value)
            typer.echo(json.dumps(shown, ensure_ascii=False, indent=2))
            return
        self._banner()
        for line in lines:
            typer.echo(visible(line))

    def table(
        self, value: Mapping[str, Any], heads: Sequence[str], rows: Sequence[Sequence[Any]]
    ) -> None:
        """Print a table as the result; an empty one says so."""
        if self.as_json:
            self.result(value, ())
        elif not rows:
            self.result(value, ["none"])
        else:
            self.result(value, _drawn(heads, rows))

    def _banner(self) -> None:
        if self.is_rehearsal and not self._said:
            self._said = True
            typer.echo("REHEARSAL: its time is set by its operator, nothing leaves it", err=True)


def fields(value: Mapping[str, Any]) -> list[str]:
    """Lines of an object: name and value, nested ones in compact JSON, empty ones left out."""
    shown = {
        name: each
        for name, each in value.items()
        if each not in (None, "", [], {}) or isinstance(each, bool)
    }
    width = max(map(len, shown), default=0)
    return [f"{name:<{width}}  {_cell(each)}" for name, each in shown.items()]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return " ".join(value)
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def _drawn(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    """Lines of a table; cells are shown whole, whatever the terminal's width."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*heads, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*map(_cell, row))
    # What a console measures never exceeds its own width, so it gets more than any table needs.
    console = Console(width=1000, markup=False, highlight=False)
    with console.capture() as capture:
        console.print(table)
    return [line.rstrip() for line in capture.get().splitlines()]
