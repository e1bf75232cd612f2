"""Print the benchmark's keys in the world state of a node that does not run, as lines of JSON.

    python -P tests/bench/dump_state.py LEDGER_FOLDER

Started by path, so that PYTHONPATH decides whose ledger reads it. First line: the hashes by which
nodes agree. Then `[key, value]`, in the order of the keys.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from ledger.channel import ChannelLedger

NAMESPACE = "qist"


def main(path: str) -> None:
    """See the module's docstring."""
    ledger = ChannelLedger.open(Path(path))
    try:
        head = {
            "height": ledger.height,
            "header_hash": ledger.last_header_hash.hex(),
            "commit_hash": ledger.commit_hash.hex(),
        }
        sys.stdout.write(json.dumps(head) + "\n")
        with ledger.snapshot() as state:
            for key, entry in state.range(NAMESPACE, "", ""):
                sys.stdout.write(json.dumps([key, entry.value.decode()]) + "\n")
    except BrokenPipeError:
        # Who reads has seen enough; nothing must be written at the end either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    finally:
        ledger.close()


if __name__ == "__main__":
    main(sys.argv[1])
