"""Writing small TOML files: plain values, lists, tables and lists of tables, in the given order.

What is written reads back the same with `tomllib`. Absent: dotted nesting deeper than a table in a
table, which no file of ours has.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any


def render_toml(comment: str, content: Mapping[str, Any]) -> str:
    """Return the text of a file.

    Args:
        comment: its first line.
        content: plain values and lists of them; after these, tables and lists of tables.
    """
    plain = {name: value for name, value in content.items() if not _is_table(value)}
    lines = [f"# {comment}", *_assignments(plain)]
    for name, value in content.items():
        if isinstance(value, Mapping) and value:
            lines += ["", f"[{_key(name)}]", *_assignments(value)]
        elif _is_table(value) and not isinstance(value, Mapping):
            for entry in value:
                lines += ["", f"[[{_key(name)}]]", *_assignments(entry)]
    return "\n".join(lines) + "\n"


def _is_table(value: object) -> bool:
    if isinstance(value, Mapping):
        return True
    return isinstance(value, list | tuple) and bool(value) and isinstance(value[0], Mapping)


def _assignments(values: Mapping[str, Any]) -> list[str]:
    return [
        f"{_key(name)} = {_value(value)}" for name, value in values.items() if value is not None
    ]


def _key(name: str) -> str:
    bare = name.isascii() and name.replace("_", "").replace("-", "").isalnum()
    return name if bare else json.dumps(name)


def _value(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case datetime() | date():
            return value.isoformat()
        case str():
            # A JSON string is a basic string of TOML, but for the one escape below.
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case Sequence():
            return f"[{', '.join(_value(each) for each in value)}]"
    raise TypeError(f"no value of TOML: {type(value).__name__}")
