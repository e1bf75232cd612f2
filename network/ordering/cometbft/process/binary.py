"""CometBFT's program: where it is, and that it speaks what this node speaks.

Its version is a matter of protocol numbers, not of the text it prints: releases of one line differ
in the text and speak the same.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from network.ordering.cometbft.errors import HomeError

__all__ = ["PROTOCOLS", "find_binary", "verify_protocols"]

PROGRAM: Final = "cometbft"
VARIABLE: Final = "QIST_COMETBFT"
PROTOCOLS: Final = {"abci": "2.0.0", "block_protocol": 11, "p2p_protocol": 8}
"""What `cometbft version --verbose` must say."""

_DEADLINE_S = 20.0


def find_binary(configured: str = "") -> Path:
    """Return the program: the configured one, else `$QIST_COMETBFT`, else the environment's, else
    the one on the PATH.

    Args:
        configured: `binary` of node.toml's `[consensus]`; empty if it names none.
    Raises:
        HomeError: it is not there, or no program.
    """
    for named, source in (
        (configured, "node.toml, [consensus] binary"),
        (os.environ.get(VARIABLE, ""), f"${VARIABLE}"),
    ):
        if named:
            found = shutil.which(Path(named).expanduser())
            if found is None:
                raise HomeError(
                    f"{source} names {named}, which is no program; correct it, or leave it out "
                    "and run: make cometbft"
                )
            return Path(found)
    beside = Path(sys.executable).with_name(PROGRAM)
    found = shutil.which(beside) or shutil.which(PROGRAM)
    if found is None:
        raise HomeError(
            f"CometBFT is not installed: there is no {beside} and no {PROGRAM} on the PATH; "
            "run: make cometbft"
        )
    return Path(found)


def verify_protocols(binary: Path) -> None:
    """Check that the program speaks the protocols that this node speaks; takes some 50 ms.

    Raises:
        HomeError: it does not run, or speaks others.
    """
    command = [str(binary), "version", "--verbose"]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_DEADLINE_S, check=True
        )
        found = json.loads(done.stdout)
        told = {name: found[name] for name in PROTOCOLS}
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError) as error:
        raise HomeError(
            f"{binary} does not tell which protocols it speaks ({type(error).__name__}); is it "
            "CometBFT? Run: make cometbft"
        ) from error
    if told != PROTOCOLS:
        raise HomeError(
            f"{binary} speaks {_words(told)}, this node {_words(PROTOCOLS)}; run: make cometbft"
        )


def _words(protocols: dict[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in protocols.items())
