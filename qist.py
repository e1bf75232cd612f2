"""The public face of Qist: the names that programs of third parties may import, and the command.

Programs import from here and from nowhere else: the five packages beside this module carry generic
names and may move (docs/adr/0011-import-names.md). Nothing inside the five packages imports this
module.
"""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> int:
    """Run the command line; returns the exit code of the process."""
    sys.stderr.write("qist: the commands are not part of this checkout yet\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
