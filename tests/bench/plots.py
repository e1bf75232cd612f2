"""Plots of a run as SVG, written by hand: bars beside Fabric's, stacked stages, and curves.

Plain on purpose: no script, no font but the reader's own, and every figure written beside its mark,
so that a plot is readable without colours.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from tests.bench import fabric
from tests.bench.report import row_of
from tests.bench.stages import STAGES

WIDTH = 900
LEFT = 260
RIGHT = 110
TOP = 50
BAR = 16
GAP = 6
OURS, THEIRS = "#1f6f8b", "#b8b8b8"
COLOURS = ("#1f6f8b", "#d1495b", "#edae49", "#66a182", "#2e4057",
           "#8d96a3", "#a05195", "#003d5b", "#c9ada7")  # fmt: skip


@dataclass(frozen=True)
class Bar:
    """A bar and what is written at its end.

    Attributes:
        label: left of it.
        parts: lengths and colours, from the left.
        told: right of it.
    """

    label: str
    parts: Sequence[tuple[float, str]]
    told: str

    @property
    def length(self) -> float:
        """Of all parts together."""
        return sum(length for length, _ in self.parts)


@dataclass(frozen=True)
class Curve:
    """Points of one figure, in order of x."""

    label: str
    points: Sequence[tuple[float, float]]


def write_plots(folder: Path, rows: Sequence[Mapping[str, Any]]) -> list[Path]:
    """Write the plots of a run into *folder*; return their paths."""
    made = {}
    for engine in dict.fromkeys(row["engine"] for row in rows):
        own = [row for row in rows if row["engine"] == engine]
        for name, batch in (("one", 1), ("bulk", max(row["batch"] for row in own))):
            chosen = [row for row in own if row["batch"] == batch]
            made[f"{engine}-{name}.svg"] = bars(
                f"Records a second, {batch} a transaction, {engine}; grey: Fabric", _rates(chosen)
            )
        staged = [row for row in own if row["cpu_ms_per_tx"]["stage"] and row["batch"] == 1]
        title = f"Processor time, milliseconds a transaction, {engine}"
        made[f"{engine}-stages.svg"] = bars(title, _stages(staged), legend=STAGES)
    for old in folder.glob("*.svg"):
        old.unlink()
    paths = []
    for name, content in made.items():
        paths.append(folder / name)
        paths[-1].write_text(content, "utf-8")
    return paths


def _label(row: Mapping[str, Any]) -> str:
    return f"{row['work']}, {row['callers']} callers, {row['client']}"


def _rates(rows: Iterable[Mapping[str, Any]]) -> list[Bar]:
    found = []
    for row in rows:
        rate = row["records_per_s"]
        found.append(Bar(_label(row), ((rate, OURS),), f"{rate:,.0f}"))
        theirs = fabric.records_per_s(row_of(row))
        if theirs is not None:
            found.append(Bar("", ((theirs, THEIRS),), f"{theirs:,.0f}"))
    return found


def _stages(rows: Iterable[Mapping[str, Any]]) -> list[Bar]:
    found = []
    for row in rows:
        spent = row["cpu_ms_per_tx"]["stage"]
        parts = [
            (spent.get(stage, 0.0), colour) for stage, colour in zip(STAGES, COLOURS, strict=True)
        ]
        found.append(Bar(_label(row), parts, f"{sum(spent.values()):.2f}"))
    return found


def bars(title: str, content: Sequence[Bar], legend: Sequence[str] = ()) -> str:
    """Return a plot of horizontal bars."""
    longest = max((bar.length for bar in content), default=0.0) or 1.0
    scale = (WIDTH - LEFT - RIGHT) / longest
    top = TOP + (BAR + GAP if legend else 0)
    lines = [_text(10, 24, title, size=15)]
    for number, (name, colour) in enumerate(zip(legend, COLOURS, strict=False)):
        x = 10 + number * (WIDTH - 20) / max(len(legend), 1)
        lines += [_rect(x, TOP - 12, 10, 10, colour), _text(x + 14, TOP - 3, name, size=11)]
    for number, bar in enumerate(content):
        y = top + number * (BAR + GAP)
        lines.append(_text(LEFT - 8, y + 12, bar.label, anchor="end"))
        x = float(LEFT)
        for length, colour in bar.parts:
            lines.append(_rect(x, y, length * scale, BAR, colour))
            x += length * scale
        lines.append(_text(x + 6, y + 12, bar.told))
    return _svg(top + len(content) * (BAR + GAP) + 10, lines)


def curves(title: str, unit: str, content: Sequence[Curve]) -> str:
    """Return a plot of figures over the number of agreements in the ledger, each from zero up."""
    height, bottom = 360, 300
    most_x = max((x for curve in content for x, _ in curve.points), default=0.0) or 1.0
    most_y = max((y for curve in content for _, y in curve.points), default=0.0) or 1.0
    width = WIDTH - 80 - 220
    lines = [_text(10, 24, title, size=15), _text(10, TOP - 5, unit, size=11)]
    lines += [_line(80, bottom, 80 + width, bottom), _line(80, TOP, 80, bottom)]
    for number, curve in enumerate(content):
        colour = COLOURS[number % len(COLOURS)]
        places = [
            (80 + x / most_x * width, bottom - y / most_y * (bottom - TOP)) for x, y in curve.points
        ]
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        lines.append(f'<polyline points="{joined}" fill="none" stroke="{colour}"/>')
        for (x, y), (agreements, value) in zip(places, curve.points, strict=True):
            lines.append(_rect(x - 2, y - 2, 4, 4, colour))
            lines.append(_text(x, y - 6, f"{value:,.0f}", size=10, anchor="middle"))
            lines.append(_text(x, bottom + 16, f"{agreements:,.0f}", size=10, anchor="middle"))
        x, y = places[-1] if places else (80, bottom)
        lines.append(_text(x + 24, y + 4, curve.label, size=11))
    lines.append(_text(80 + width / 2, bottom + 36, "agreements in the ledger", anchor="middle"))
    return _svg(height, lines)


def _svg(height: float, lines: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height:.0f}" '
        f'viewBox="0 0 {WIDTH} {height:.0f}" font-family="sans-serif">'
    )
    ground = f'<rect width="{WIDTH}" height="{height:.0f}" fill="white"/>'
    return "\n".join([head, ground, *lines, "</svg>", ""])


def _text(x: float, y: float, words: str, *, size: int = 12, anchor: str = "start") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}"'
    return f"<text {place}>{escape(words)}</text>"


def _rect(x: float, y: float, width: float, height: float, colour: str) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
    return f'<rect {place} fill="{colour}"/>'


def _line(x: float, y: float, to_x: float, to_y: float) -> str:
    return f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}" stroke="black"/>'
