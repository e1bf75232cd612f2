"""`config.yaml` of an MSP folder: the part of YAML in which it is written.

Mappings by indentation, lists of mappings, plain or quoted scalars, comments. Whatever else YAML
has (anchors, flow collections, multi-line scalars) is refused with its line, since nothing in this
file may be understood otherwise than its writer meant it.

Source: Fabric msp/configbuilder.go (`Configuration`, `NodeOUs`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from network.errors import ConfigurationError

Node = str | dict[str, "Node"] | list["Node"]

MAX_BYTES: Final = 64 * 1024

_ENTRY = re.compile(r"([A-Za-z]+)\s*:(?:\s+(.*))?")
_PLAIN = re.compile(r"[A-Za-z0-9_./~@+ -]*")


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    indent: int
    text: str


def parse_config_yaml(raw: bytes, place: str) -> dict[str, Node]:
    """Read the file.

    Args:
        raw: its bytes.
        place: its path, for messages.
    Returns:
        the mapping in it; scalars as strings, absent values as the empty string.
    Raises:
        ConfigurationError: not of that form; the message names the line.
    """
    if len(raw) > MAX_BYTES:
        raise ConfigurationError(
            f"{place} is longer than {MAX_BYTES} bytes: that is no config.yaml"
        )
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as reason:
        raise ConfigurationError(f"{place} is not UTF-8: write it as such") from reason
    lines = []
    for number, line in enumerate(text.splitlines(), start=1):
        content = _without_comment(line).rstrip()
        if not content.strip() or content == "---":
            continue
        stripped = content.lstrip(" ")
        if stripped.startswith("\t"):
            raise _fault(place, number, "is indented by a tab; use blanks")
        lines.append(_Line(number, len(content) - len(stripped), stripped))
    if not lines:
        return {}
    found, end = _read_mapping(lines, 0, lines[0].indent, place)
    if end != len(lines):
        raise _fault(place, lines[end].number, "is indented less than what it belongs to")
    return found


def _fault(place: str, number: int, what: str) -> ConfigurationError:
    return ConfigurationError(
        f"{place}:{number} {what}; write it as Fabric's sample config.yaml is written"
    )


def _without_comment(line: str) -> str:
    quote = ""
    for position, character in enumerate(line):
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character == "#" and (position == 0 or line[position - 1] in " \t"):
            return line[:position]
    return line


def _read_mapping(
    lines: list[_Line], at: int, indent: int, place: str
) -> tuple[dict[str, Node], int]:
    """Read the mapping whose first key stands at line *at*; return it and where it ends."""
    found: dict[str, Node] = {}
    while at < len(lines) and lines[at].indent == indent:
        line = lines[at]
        match = _ENTRY.fullmatch(line.text)
        if match is None or line.text.startswith("- "):
            raise _fault(place, line.number, f"is no NAME: VALUE ({line.text[:40]!r})")
        name = match[1]
        if name in found:
            raise _fault(place, line.number, f"says {name} a second time")
        at += 1
        if match[2]:
            found[name] = _scalar(match[2].strip(), place, line.number)
        elif at < len(lines) and lines[at].text.startswith("-") and lines[at].indent >= indent:
            found[name], at = _read_list(lines, at, lines[at].indent, place)
        elif at < len(lines) and lines[at].indent > indent:
            found[name], at = _read_mapping(lines, at, lines[at].indent, place)
        else:
            found[name] = ""
    if at < len(lines) and lines[at].indent > indent:
        raise _fault(place, lines[at].number, "is indented more than its neighbours")
    return found, at


def _read_list(lines: list[_Line], at: int, indent: int, place: str) -> tuple[list[Node], int]:
    """Read a list of mappings, whose first line is *at*."""
    found: list[Node] = []
    while at < len(lines) and lines[at].indent == indent and lines[at].text.startswith("-"):
        line = lines[at]
        content = line.text[1:].lstrip(" ")
        if not content:
            raise _fault(place, line.number, "is an entry without a mapping in its line")
        inner = indent + len(line.text) - len(content)
        lines[at] = _Line(line.number, inner, content)
        entry, at = _read_mapping(lines, at, inner, place)
        found.append(entry)
    return found, at


def _scalar(text: str, place: str, number: int) -> str:
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        inner = text[1:-1]
        if text[0] in inner or "\\" in inner:
            raise _fault(place, number, "has a quotation that is not read here")
        return inner
    if not _PLAIN.fullmatch(text):
        raise _fault(place, number, f"has a value that is not read here ({text[:40]!r})")
    return text
