"""Decoders of single values: texts, numbers, dates, choices.

Each takes what `json.loads` gives and returns the declared value or raises `WrongValue`, whose
words never hold the value itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any, Final, NoReturn, cast

from chaincode.contract.bounds import Pattern

MAX_TEXT: Final = 4096
"""Characters of a text that carries no `MaxLength` of its own."""
INT64: Final = 2**63
MAX_DEPTH: Final = 32
"""Lists and objects inside each other, where a value is kept as it came."""

Decode = Callable[[Any], Any]
"""From what `json.loads` gives to a value of the declared type; raises `WrongValue`."""


class WrongValue(Exception):
    """A value is not of its type; the path grows from the inside out."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path: list[str] = []

    @property
    def place(self) -> str:
        """Where in the value: `[3].amount_paisa`; empty for the value itself."""
        return "".join(reversed(self.path))


class TooDeep(Exception):
    """A value is nested deeper than `MAX_DEPTH`: the whole argument is refused, not one record."""


def name_of_json(value: object) -> str:
    """Say what a JSON value is, without saying what it holds."""
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false"}
    names |= {int: "an integer", float: "a number with a fraction", type(None): "null"}
    return names.get(type(value), "something else")


def want(what: str, value: object) -> NoReturn:
    """Refuse *value*, saying what is wanted and what kind of thing stands there."""
    raise WrongValue(f"must be {what}, not {name_of_json(value)}")


def spelled(name: str) -> str:
    """A field's name as part of a path, unless it is no name: it might be somebody's number."""
    return f".{name}" if re.fullmatch(r"[A-Za-z_][A-Za-z_-]{0,39}", name) else ".(a field)"


def text(longest: int, pattern: Pattern | None) -> Decode:
    """Return the decoder of a text of at most *longest* characters that *pattern* matches."""
    matches = None if pattern is None else re.compile(pattern.expression, re.ASCII).fullmatch

    def text(value: Any) -> str:
        if type(value) is not str:
            want("a text", value)
        if len(value) > longest:
            raise WrongValue(f"is longer than {longest} characters")
        verify_text(value)
        if matches is not None and matches(value) is None:
            raise WrongValue(f"must be {cast(Pattern, pattern).meaning}")
        return value

    return text


def integer(minimum: int, maximum: int) -> Decode:
    """Return the decoder of an integer within bounds, both allowed."""

    def integer(value: Any) -> int:
        if type(value) is not int:
            want("an integer", value)
        if not minimum <= value <= maximum:
            raise WrongValue(f"must be from {minimum} to {maximum}")
        return value

    return integer


def boolean(value: Any) -> bool:
    """Decode true or false."""
    if type(value) is not bool:
        want("true or false", value)
    return value


def number(value: Any) -> float:
    """Decode a number that may have a fraction."""
    if type(value) not in (int, float) or not -1e300 < value < 1e300:
        want("a number", value)
    return float(value)


def null(value: Any) -> None:
    """Decode null."""
    if value is not None:
        want("null", value)


def iso_date(value: Any) -> date:
    """Decode a date written YYYY-MM-DD."""
    if type(value) is not str:
        want("a date as YYYY-MM-DD", value)
    if len(value) == 10 and value[4] == "-" == value[7]:
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass
    raise WrongValue("must be a date as YYYY-MM-DD")


_UTC_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.(?:\d{3}|\d{6}))?Z", re.ASCII)


def utc_time(value: Any) -> datetime:
    """Decode a UTC time written YYYY-MM-DDThh:mm:ssZ, with milli- or microseconds or without."""
    if type(value) is str and _UTC_TIME.fullmatch(value):
        try:
            return datetime.fromisoformat(value).astimezone(UTC)
        except ValueError:
            pass
    raise WrongValue("must be a time as YYYY-MM-DDThh:mm:ssZ")


def choice(members: dict[Any, Any]) -> Decode:
    """Return the decoder of one of several values, each given with what it stands for."""
    spelled = ", ".join(str(value) for value in members)
    # 1, 1.0 and true are equal, and still different things.
    typed = {(type(value), value): member for value, member in members.items()}

    def choice(value: Any) -> Any:
        try:
            return typed[(type(value), value)]
        except (KeyError, TypeError):
            raise WrongValue(f"must be one of {spelled}") from None

    return choice


def anything(value: Any) -> Any:
    """Decode any JSON value, as it is."""
    verify_depth(value)
    return value


def verify_depth(value: Any, depth: int = 0) -> None:
    """Check that a value that is kept as it came is not nested deeper than `MAX_DEPTH`.

    How deep a parser goes differs between Pythons; this bound does not.

    Raises:
        TooDeep: it is.
        WrongValue: a text in it holds half of a character.
    """
    if isinstance(value, (list, dict)):
        if depth >= MAX_DEPTH:
            raise TooDeep
        for item in value.values() if isinstance(value, dict) else value:
            verify_depth(item, depth + 1)
        for name in value if isinstance(value, dict) else ():
            verify_text(name)
    elif isinstance(value, str):
        verify_text(value)


def verify_text(value: str) -> None:
    """Check that a text can be written in UTF-8."""
    if not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise WrongValue("holds half of a character") from None
