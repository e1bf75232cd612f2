"""What the determinism guard refuses in a contract package, and what it lets be."""

from __future__ import annotations

import pytest

from chaincode.determinism import find_refused, verify_determinism
from chaincode.errors import DeterminismError, PackageError


def refused(source: str, path: str = "main.py") -> list[tuple[int, str]]:
    """Return line and thing of everything refused in one module."""
    return [(found.line, found.what) for found in find_refused({path: source.encode()})]


@pytest.mark.parametrize(
    "module",
    [
        "asyncio", "ctypes", "glob", "importlib", "inspect", "io", "logging", "multiprocessing",
        "os", "os.path", "pathlib", "pickle", "platform", "random", "secrets", "shutil", "socket",
        "ssl", "statistics", "subprocess", "sys", "tempfile", "threading", "time", "unicodedata",
        "urllib.request", "uuid", "zoneinfo", "numpy", "phonenumbers", "ledger.state",
        "chaincode.simulator", "chaincode.contract.values", "chaincode.instalments.money", "qist",
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", ["import {}", "import {} as x", "from {} import x"])
def test_import_of_what_differs_between_nodes_is_refused(module: str, form: str) -> None:
    """Every import outside the list is refused where it stands, in every form."""
    assert refused(f"'doc'\n\n{form.format(module)}\n") == [(3, f"import of {module}")]


def test_import_inside_function_or_condition_is_refused() -> None:
    """An import hidden in a function, a try or a condition is found too."""
    source = """
def later():
    import time
    return time
try:
    import random
except ImportError:
    random = None
if True:
    from os import path
"""
    assert refused(source) == [
        (3, "import of time"),
        (6, "import of random"),
        (10, "import of os"),
    ]


def test_import_of_contract_api_own_modules_and_listed_library_is_accepted() -> None:
    """A contract may import the API, its own modules, and what is the same everywhere."""
    source = """
from __future__ import annotations
import dataclasses, hashlib, json, re
from collections.abc import Mapping
from datetime import date, time, timedelta
from math import gcd, isqrt
from chaincode.contract import Contract
from . import rules
from .rules import ANSWER
from .below.deeper import more
"""
    assert refused(source) == []


@pytest.mark.parametrize(
    ("path", "level", "accepted"),
    [("main.py", 1, True), ("main.py", 2, False), ("a/b.py", 2, True), ("a/b.py", 3, False)],
)
def test_relative_import_may_not_leave_the_package(path: str, level: int, accepted: bool) -> None:
    """A relative import reaches modules of the package and nothing above it."""
    found = refused(f"from {'.' * level} import x\n", path)
    assert found == ([] if accepted else [(1, "a relative import")])


def test_inexact_mathematics_is_refused() -> None:
    """Functions whose last bit differs between machines are refused, exact ones are not."""
    assert refused("from math import floor, log\n") == [(1, "import of math")]
    assert refused("from math import *\n") == [(1, "import of math")]
    assert refused("import math as m\nx = m.ceil(1) + m.exp(1)\n") == [(2, "math.exp")]


@pytest.mark.parametrize(
    "name",
    ["__import__", "breakpoint", "compile", "eval", "exec", "globals", "hash", "id", "input",
     "open", "print"],
)  # fmt: skip
def test_builtin_that_reaches_outside_is_refused(name: str) -> None:
    """Builtins that reach files, code, addresses or hash seeds are refused, called or passed on."""
    assert refused(f"def f(x):\n    return {name}(x)\n") == [(2, name)]
    assert refused(f"def f(x):\n    return map({name}, x)\n") == [(2, name)]


def test_name_that_is_set_in_the_contract_is_no_builtin() -> None:
    """A parameter, a local name or a function called `id` is the contract's own."""
    source = """
def f(id, hash=None):
    return id, hash
def g(records):
    return [id for id in records]
def open(case):
    return case
def h(case):
    return open(case)
"""
    assert refused(source) == []


def test_field_of_class_does_not_hide_builtin_from_its_methods() -> None:
    """A class's field is not seen by its methods, so a call there is the builtin's."""
    source = """
class Record:
    id: str = ""
    def place(self):
        return id(self)
"""
    assert refused(source) == [(5, "id")]


@pytest.mark.parametrize(
    "source",
    [
        "from datetime import datetime\nx = datetime.now()",
        "from datetime import datetime as d\nx = d.utcnow()",
        "from datetime import date\nx = date.today()",
        "import datetime\nx = datetime.datetime.now()",
        "import datetime as dt\nx = dt.date.today()",
        "from datetime import datetime\nx = datetime.fromtimestamp(0)",
        "from datetime import date\nx = date.fromtimestamp(0)",
        "def f(x):\n    return x.astimezone()",
    ],
)
def test_machine_clock_and_zone_are_refused(source: str) -> None:
    """The clock and the time zone of the machine differ between endorsers."""
    assert [line for line, _ in refused(source)] == [2]


@pytest.mark.parametrize(
    "source",
    [
        "from datetime import datetime, UTC\nx = datetime.fromtimestamp(0, UTC)",
        "from datetime import datetime\nx = datetime.fromtimestamp(0, tz=None)",
        "def f(clock):\n    return clock.now()",
        "from datetime import datetime\ndef f(x, PKT):\n    return x.astimezone(PKT).date()",
    ],
)
def test_time_that_is_given_is_accepted(source: str) -> None:
    """Times that come from the transaction, in a named zone, are fine."""
    assert refused(source) == []


@pytest.mark.parametrize(
    "use",
    [
        "[x for x in {s}]", "{{x: 1 for x in {s}}}", "list({s})", "tuple({s})", "next(iter({s}))",
        "','.join({s})", "[*{s}]", "list(enumerate({s}))", "list(map(str, {s}))",
        "list(zip({s}, [1]))", "sum_(x for x in {s})", "','.join(x for x in {s})", "({s}).pop()",
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "made",
    ["{1, 2}", "set(a)", "frozenset(a)", "{x for x in a}", "set(a) | b", "a.keys() - b",
     "set(a).union(b)"],
)  # fmt: skip
def test_order_of_set_that_shows_is_refused(use: str, made: str) -> None:
    """Iteration over a set is refused wherever its order reaches the result."""
    source = f"def f(a, b):\n    return {use.format(s=made)}\n"
    assert [what for _, what in refused(source)] == ["iteration over a set"]


@pytest.mark.parametrize(
    "use",
    ["sorted({s})", "len({s})", "1 in {s}", "sum({s})", "min({s})", "max(x for x in {s})",
     "any(x for x in {s})", "sorted(x for x in {s})", "{{x for x in {s}}}", "sorted(list_({s}))"],
)  # fmt: skip
def test_order_of_set_that_does_not_show_is_accepted(use: str) -> None:
    """What gives the same for every order is fine."""
    assert refused(f"def f(a):\n    return {use.format(s='set(a)')}\n") == []


def test_set_is_followed_through_names_annotations_and_fields() -> None:
    """Local names, parameters, fields and results that the package calls sets count as sets."""
    source = """
from dataclasses import dataclass
@dataclass(frozen=True)
class Case:
    voters: frozenset[str]
def voters(case) -> set[str]:
    return set(case.ballots)
def f(case, groups: set[str], names: "frozenset[str]"):
    seen = set(case.seen)
    for x in seen: yield x
    for x in groups: yield x
    for x in names: yield x
    for x in case.voters: yield x
    for x in voters(case): yield x
    first, second = seen
def g(seen):
    seen = sorted(set(seen))
    for x in seen: yield x
"""
    assert [line for line, _ in refused(source)] == [10, 11, 12, 13, 14, 15]


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("def f():\n    global x\n    x = 1", "global"),
        ("try:\n    pass\nexcept:\n    pass", "except of everything"),
        ("try:\n    pass\nexcept BaseException:\n    pass", "except of everything"),
        ("try:\n    pass\nexcept (ValueError, BaseException):\n    pass", "except of everything"),
        ("async def f():\n    pass", "async def"),
        ("def f(x):\n    return x.__globals__", "__globals__"),
        ("x = ().__class__.__mro__[1].__subclasses__()", "__subclasses__"),
    ],
)
def test_statement_that_escapes_a_transaction_is_refused(source: str, what: str) -> None:
    """State between transactions, deafness to the deadline and ways round are refused."""
    assert [found for _, found in refused(source)] == [what]


def test_every_refusal_is_named_with_file_line_and_reason() -> None:
    """The message lists every place, and no more than twenty."""
    files = {
        "a.py": b"import time\n",
        "b/c.py": b"\n\nx = open('f')\n",
        "b/__init__.py": b"",
        "data.txt": b"import os",
    }
    with pytest.raises(DeterminismError) as refusal:
        verify_determinism(files)
    message = str(refusal.value)
    assert "a.py:1: import of time: every endorser's clock is another" in message
    assert "b/c.py:3: open: a contract reads and writes only the ledger" in message
    with pytest.raises(DeterminismError, match="and 5 more"):
        verify_determinism({"a.py": b"import time\n" * 25})


@pytest.mark.parametrize("source", [b"def f(:\n", b"x = \x00", b"\xff\xfe", b"(" * 5000])
def test_module_that_is_no_python_is_refused_with_its_name(source: bytes) -> None:
    """A module that cannot be parsed is refused, and nothing else happens."""
    with pytest.raises(PackageError, match=r"broken\.py"):
        verify_determinism({"broken.py": source})
