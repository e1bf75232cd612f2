"""Files in TOML that people write: read, checked against a model, refused with line and reason.

Unknown names are refused, since a misspelt one that is silently ignored is worse than none. All
faults of a file are named at once, each on a line of its own: ``FILE:LINE: NAME: REASON``.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from ledger.errors import Refusal

__all__ = ["DescriptionRefusal", "Section", "load_toml", "read_toml"]


class DescriptionRefusal(Refusal):
    """A description is missing, is no TOML or says something that cannot be done."""


class Section(BaseModel):
    """A part of a description; it takes the names it declares and no other."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


_M = TypeVar("_M", bound=Section)


def load_toml(path: Path, model: type[_M]) -> _M:
    """Read a description.

    Raises:
        DescriptionRefusal: missing, not TOML, or a value that is refused.
    """
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError as error:
        raise DescriptionRefusal(f"{path} does not exist") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DescriptionRefusal(f"{path} cannot be read: {error}") from error
    return read_toml(text, model, str(path))


def read_toml(text: str, model: type[_M], path: str) -> _M:
    """Read the text of a description.

    Args:
        path: of its file, for the faults.
    Raises:
        DescriptionRefusal: not TOML, or a value that is refused.
    """
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DescriptionRefusal(f"{path} is not TOML: {error}") from error
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise DescriptionRefusal("\n".join(_faults(path, text, error))) from error


def _faults(path: str, text: str, error: ValidationError) -> list[str]:
    lines = []
    for fault in error.errors(include_url=False, include_context=False):
        where = _spelt(fault["loc"])
        name = f"{where}: " if where else ""
        reason = _reason(fault["type"], fault["msg"], Path(path).name)
        lines.append(f"{path}:{_line_of(text, fault['loc'])}: {name}{reason}")
    return lines


def _spelt(location: tuple[int | str, ...]) -> str:
    """Return a location as people read it: ``members[2].class``, counted from 1."""
    spelt = ""
    for part in location:
        spelt += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if spelt else part
    return spelt


def _reason(kind: str, message: str, file: str) -> str:
    if kind == "extra_forbidden":
        return f"is not a name that {file} knows; correct or remove it"
    if kind == "missing":
        return "is missing"
    return message.removeprefix("Value error, ")


def _line_of(text: str, location: tuple[int | str, ...]) -> int:
    """Return the line of the value at *location*, of its section where it is missing, else 1."""
    wanted = list(location)
    section: list[int | str] = []
    counts: dict[str, int] = {}
    best, line = -1, 1
    for number, content in enumerate(text.splitlines(), start=1):
        header = re.match(r"\s*(\[\[?)\s*([^\[\]]+?)\s*\]", content)
        if header:
            section = _names(header[2])
            if header[1] == "[[":
                counts[header[2]] = counts.get(header[2], -1) + 1
                section = [*section, counts[header[2]]]
            here = section
        else:
            key = re.match(r"\s*([\w.\"'-]+)\s*=", content)
            if not key:
                continue
            here = [*section, *_names(key[1])]
        # The longest part of the location that this line begins, the first line that does.
        if here == wanted[: len(here)] and len(here) > best:
            best, line = len(here), number
    return line


def _names(dotted: str) -> list[int | str]:
    return [part.strip().strip("\"'") for part in dotted.split(".")]
