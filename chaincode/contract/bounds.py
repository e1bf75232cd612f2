"""What an annotation may say about a value beside its type, and what stands for a bad record."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class MaxLength:
    """Longest text, in characters."""

    length: int


@dataclasses.dataclass(frozen=True, slots=True)
class MaxItems:
    """Most entries of a list or an object."""

    items: int


@dataclasses.dataclass(frozen=True, slots=True)
class Bounds:
    """Smallest and largest integer, both allowed."""

    minimum: int
    maximum: int


@dataclasses.dataclass(frozen=True, slots=True)
class Pattern:
    """Regular expression that a whole text must match, and what to call it in a refusal."""

    expression: str
    meaning: str


@dataclasses.dataclass(frozen=True, slots=True)
class Malformed:
    """Stands for a record of a bulk that is not of its type, so that the good ones go on.

    `list[PaymentInput | Malformed]` decodes every record by itself.

    Attributes:
        message: path and reason, without the value.
        raw: what the JSON held, for reading its id; do not print it. None if it holds text that
            cannot be written.
    """

    message: str
    raw: object = dataclasses.field(repr=False)
