"""What a contract package may not use, because two endorsers would differ or a node would suffer.

A static check of imports and names, made when a package is installed. It is an aid against
accidents, **no security boundary**: whoever wants to get round it can, and a member who installs a
package runs it with the rights of its node. What slips through spoils single transactions, whose
endorsements then differ, and never the chain: committers do not run contracts.

Refused, each with file, line and way out:

* every import but the package's own modules (relative), `chaincode.contract`, and the part of the
  standard library in `ALLOWED`: what gives the same answer on every machine and Python we run on;
* builtins that reach files, code, memory addresses or hash seeds (`REFUSED_NAMES`);
* the clock behind `datetime` and `date`, and the machine's time zone;
* iteration over a set whose order shows: texts hash differently in every process;
* `global`, which keeps something between transactions; `except:` and `except BaseException`, which
  would catch the end of the deadline.

The set check knows literals, calls, operators, local names, and the annotations of the package; a
set that comes from elsewhere it does not see.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Final

from chaincode.determinism.inspector import Finding, Inspector
from chaincode.determinism.sets import SetNames
from chaincode.errors import DeterminismError, PackageError

__all__ = ["Finding", "find_refused", "verify_determinism"]

_SHOWN: Final = 20


def verify_determinism(files: Mapping[str, bytes]) -> None:
    """Check the modules of a package.

    Args:
        files: content by path inside the package; only `*.py` is looked at.
    Raises:
        PackageError: a module is no Python.
        DeterminismError: something is refused; the message names each place.
    """
    findings = find_refused(files)
    if findings:
        listed = "\n  ".join(map(str, findings[:_SHOWN]))
        more = len(findings) - _SHOWN
        listed += f"\n  and {more} more" if more > 0 else ""
        raise DeterminismError(f"a contract must give the same result everywhere:\n  {listed}")


def find_refused(files: Mapping[str, bytes]) -> list[Finding]:
    """Return everything in a package that is refused, by path and line."""
    trees = {path: _parse(path, content) for path, content in files.items() if path.endswith(".py")}
    findings: list[Finding] = []
    try:
        known = SetNames.of(trees.values())
        for path, tree in trees.items():
            inspector = Inspector(path, known)
            inspector.visit(tree)
            findings += inspector.findings
    except RecursionError:
        raise PackageError("a module nests expressions deeper than can be checked") from None
    return sorted(findings)


def _parse(path: str, content: bytes) -> ast.Module:
    try:
        return ast.parse(content, path)
    except SyntaxError as error:
        raise PackageError(f"{path}:{error.lineno or 1}: is not Python: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError):
        raise PackageError(f"{path}: is not Python that can be read") from None
