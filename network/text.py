"""Text that others wrote, before it is shown on a terminal.

Names in certificates, a node's words and what contracts recorded come from members who may want a
reader to see something else than there is: control characters move the cursor, hide lines and
colour them, and marks of direction turn text round.
"""

from __future__ import annotations

import re
from typing import Final

# Controls but for the line's end and the tab, lines' ends that few expect, and marks of direction.
_TRICKS: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


def visible(text: str) -> str:
    """Return *text* with every character that acts on a terminal written as its escape."""
    return _TRICKS.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)
