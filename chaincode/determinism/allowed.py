"""What a contract may import and call: the lists, each refusal with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

CONTRACT_API: Final = "chaincode.contract"

_EXACT_MATH: Final = frozenset({"ceil", "comb", "floor", "gcd", "isqrt", "lcm", "perm", "prod"})
ALLOWED: Final[Mapping[str, frozenset[str] | None]] = {
    "__future__": None,
    "abc": None,
    "base64": None,
    "binascii": None,
    "bisect": None,
    "calendar": None,
    "collections": None,
    "collections.abc": None,
    "contextlib": None,
    "copy": None,
    "dataclasses": None,
    "datetime": None,
    "decimal": None,
    "enum": None,
    "fractions": None,
    "functools": None,
    "hashlib": None,
    "heapq": None,
    "hmac": None,
    "itertools": None,
    "json": None,
    "math": _EXACT_MATH,
    "numbers": None,
    "operator": None,
    "re": None,
    "string": None,
    "struct": None,
    "textwrap": None,
    "types": None,
    "typing": None,
}
"""Modules a contract may import; where names are given, only these of it."""

REASONS: Final[Mapping[str, str]] = {
    "asyncio": "a contract runs from beginning to end on one thread",
    "io": "a contract reads and writes only the ledger",
    "math": "its functions of fractions differ between machines; exact ones are allowed: "
    + ", ".join(sorted(_EXACT_MATH)),
    "multiprocessing": "a contract runs from beginning to end on one thread",
    "os": "a contract reads and writes only the ledger",
    "pathlib": "a contract reads and writes only the ledger",
    "random": "endorsers would draw different numbers; derive them from ctx.tx_id",
    "secrets": "endorsers would draw different numbers; derive them from ctx.tx_id",
    "socket": "endorsers would hear different answers; bring what you need as an argument",
    "subprocess": "a contract reads and writes only the ledger",
    "sys": "nodes differ in it; bring what you need as an argument",
    "threading": "a contract runs from beginning to end on one thread",
    "time": "every endorser's clock is another; use ctx.tx_time or ctx.tx_date",
    "uuid": "endorsers would make different ids; derive them from ctx.tx_id",
}
REFUSED_NAMES: Final[Mapping[str, str]] = {
    "__import__": "imports are checked where they stand; write an import statement",
    "breakpoint": "nobody sits at a node's terminal",
    "compile": "code must stand in the package to be checked",
    "eval": "code must stand in the package to be checked",
    "exec": "code must stand in the package to be checked",
    "globals": "a contract keeps nothing between transactions",
    "hash": "texts hash differently in every process; use hashlib",
    "id": "addresses differ in every process; compare with `is` or by value",
    "input": "nobody sits at a node's terminal",
    "open": "a contract reads and writes only the ledger",
    "print": "a node's output must not hold what a contract was given; return it or set an event",
}
REFUSED_ATTRIBUTES: Final = frozenset(
    {
        "__builtins__",
        "__code__",
        "__globals__",
        "__hash__",
        "__import__",
        "__loader__",
        "__spec__",
        "__subclasses__",
    }
)
"""Ways round the check, and `object.__hash__`."""
CLOCKS: Final = frozenset({"now", "today", "utcnow"})
"""Methods of `datetime` and `date` that read the machine's clock."""
