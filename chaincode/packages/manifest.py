"""The manifest of a contract package, `contract.toml`: what it is called and what it offers.

    label = "qist"
    version = "1.0"

    [contracts]
    instalments = "contract:Instalments"

`version` is what a definition on the channel must name; each line under `contracts` gives a
contract's name, which is also its namespace, and the module and class that hold it. Unknown words
are refused: a misspelt one that is silently ignored is worse than none.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from chaincode.errors import PackageError

MANIFEST: Final = "contract.toml"
_MAX_BYTES: Final = 64 * 1024
_WORDS: Final = frozenset({"label", "version", "contracts"})
_LABEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}")
"""Fabric's rule for a label (core/chaincode/persistence/chaincode_package.go), with a bound."""
_VERSION: Final = re.compile(r"[A-Za-z0-9_.+-]{1,64}")
_NAME: Final = re.compile(r"[A-Za-z0-9]+(?:[-_][A-Za-z0-9]+)*")
"""Fabric's rule for the name of a chaincode (core/chaincode/lifecycle/scc.go)."""
_MAX_NAME: Final = 64
_PLACE: Final = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a package says of itself.

    Attributes:
        label: first half of the package id, for people.
        version: what a definition must name for this package to serve it.
        contracts: `module:Class` inside the package by the contract's name, sorted by name.
    """

    label: str
    version: str
    contracts: Mapping[str, str]


def decode_manifest(raw: bytes) -> Manifest:
    """Read the bytes of a `contract.toml`.

    Raises:
        PackageError: it is no TOML, or says something that is refused; the message has the reason.
    """
    if len(raw) > _MAX_BYTES:
        raise PackageError(f"{MANIFEST} is larger than {_MAX_BYTES} bytes; shorten it")
    try:
        content = tomllib.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # of Unicode, of TOML, of a number in it
        raise PackageError(f"{MANIFEST} is not TOML: {error}; correct it") from None
    unknown = sorted(content.keys() - _WORDS)
    if unknown:
        raise PackageError(f"{MANIFEST} has {unknown[0]!r}, which nobody reads; remove it")
    contracts = content.get("contracts")
    if not isinstance(contracts, dict) or not contracts:
        raise PackageError(
            f"{MANIFEST} names no contract; add a table [contracts] with lines like "
            'payments = "contract:Payments"'
        )
    for name, place in contracts.items():
        if not _NAME.fullmatch(name) or len(name) > _MAX_NAME:
            raise PackageError(
                f"{MANIFEST}: the contract's name {name!r} must be of letters, digits and single "
                f"- or _ between them, at most {_MAX_NAME} characters"
            )
        if not isinstance(place, str) or not _PLACE.fullmatch(place):
            raise PackageError(
                f"{MANIFEST}: contract {name} must be given as module:Class inside the package"
            )
    return Manifest(
        _matching(content, "label", _LABEL),
        _matching(content, "version", _VERSION),
        dict(sorted(contracts.items())),
    )


def _matching(content: Mapping[str, object], word: str, pattern: re.Pattern[str]) -> str:
    value = content.get(word)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise PackageError(
            f"{MANIFEST} needs {word} = a text of letters, digits, '_', '.', '+' and '-', at most "
            "64 characters"
        )
    return value
