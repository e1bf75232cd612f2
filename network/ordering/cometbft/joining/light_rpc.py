"""What a node that begins may ask of another member's CometBFT, and how it is asked for.

CometBFT's light client, by which a node judges the snapshot that it begins with, asks two or more
nodes for headers, votes and validators over JSON-RPC; the node itself asks how far they are. Each
CometBFT serves its RPC to its own node alone, so such questions go through the nodes: only these
methods, only with parameters of these forms, and only of members.

Invariants: pure; what is let through changes nothing at the node that is asked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Protocol

from ledger.errors import DecodeError

__all__ = [
    "ALLOWED",
    "MAX_ANSWER_BYTES",
    "MAX_QUESTION_BYTES",
    "OtherComets",
    "QuestionRefusal",
    "decode_question",
    "encode_question",
    "read_height",
]

ALLOWED: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "status": frozenset[str](),
        "consensus_state": frozenset[str](),
        "commit": frozenset({"height"}),
        "validators": frozenset({"height", "page", "per_page"}),
        "consensus_params": frozenset({"height"}),
    }
)
"""Method to the names of the parameters that it may have."""
MAX_QUESTION_BYTES: Final = 1024
MAX_ANSWER_BYTES: Final = 4 * 1024 * 1024
"""A page of a hundred validators is a tenth of a megabyte, a commit of as many is no more."""
_LONGEST_NUMBER: Final = 20
_HIGHEST: Final = 2**62
"""CometBFT counts heights in 63 bits; what is added to one must fit there, too."""


class QuestionRefusal(DecodeError):
    """A question to another CometBFT is none of those that may be asked."""


class OtherComets(Protocol):
    """The CometBFTs beside the other members' nodes."""

    def msp_ids(self) -> Sequence[str]:
        """The other members that have a node."""

    async def ask(self, msp_id: str, method: str, params: Mapping[str, Any]) -> Any:
        """Return the result of a method.

        Raises:
            Unavailable: the member's node or its CometBFT does not answer.
            CometRefusal: CometBFT answered with an error.
            QuestionRefusal: it may not be asked.
        """

    async def prove(self, msp_id: str) -> bytes:
        """Return a proof of the last block of the newest snapshot that a member's node gives.

        Raises:
            Unavailable: it does not answer, or gives none.
        """


def encode_question(method: str, params: Mapping[str, Any]) -> bytes:
    """Return a question.

    Raises:
        QuestionRefusal: it may not be asked.
    """
    return json.dumps({"method": method, "params": _checked(method, params)}).encode()


def decode_question(raw: bytes) -> tuple[str, Mapping[str, str]]:
    """Read a question: method and parameters.

    Raises:
        QuestionRefusal: it may not be asked.
    """
    if len(raw) > MAX_QUESTION_BYTES:
        raise QuestionRefusal(f"a question has {len(raw)} bytes, and at most {MAX_QUESTION_BYTES}")
    try:
        found = json.loads(raw)
        method, params = found["method"], found.get("params") or {}
        return method, _checked(method, params)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise QuestionRefusal("a question is JSON that names a method and parameters") from error


def read_height(value: Any) -> int:
    """Read a height in another CometBFT's answer.

    Raises:
        ValueError, TypeError: it is none.
    """
    try:
        height = int(value)
    except OverflowError:
        raise ValueError("a number without end is no height") from None
    if not 0 <= height < _HIGHEST:
        raise ValueError("no chain has such a height")
    return height


def _checked(method: str, params: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the parameters as text, those without a value left out."""
    names = ALLOWED.get(method)
    if names is None:
        raise QuestionRefusal(
            f"another CometBFT may be asked {sorted(ALLOWED)}, not {method!r:.40}"
        )
    given = {name: str(value) for name, value in params.items() if value is not None}
    for name, value in given.items():
        is_number = value.isascii() and value.isdigit() and len(value) <= _LONGEST_NUMBER
        if name not in names or not is_number:
            raise QuestionRefusal(f"{method} takes {sorted(names)}, each a number")
    return given
