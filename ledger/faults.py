"""The port through which tests make a write step fail.

Every step that changes what is on disk announces itself before and after. In a node nothing
listens. A test raises, or ends the process, at one of these points, opens the ledger again and
asks ``fsck`` whether anything that was acknowledged is missing.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol


class WriteStep(StrEnum):
    """The steps of storing, in the order a block meets them."""

    PRIVATE = "private batch"
    SEGMENT_CREATE = "segment create"
    SEGMENT_APPEND = "segment append"
    SEGMENT_SYNC = "segment sync"
    DIRECTORY_SYNC = "directory sync"
    BATCH = "batch"
    TAIL_CUT = "tail cut"


class FaultPort(Protocol):
    """Hears of every write step; may raise ``OSError`` to make it fail."""

    def before(self, step: WriteStep) -> None:
        """Nothing of *step* is on disk yet."""

    def after(self, step: WriteStep) -> None:
        """All of *step* has been handed to the disk, but its caller does not know yet."""


class NoFaults:
    """What a node uses: every step goes on."""

    def before(self, step: WriteStep) -> None:
        """Let *step* begin."""

    def after(self, step: WriteStep) -> None:
        """Let *step* end."""
