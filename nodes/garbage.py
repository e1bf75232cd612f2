"""How often a node's process looks for objects that only refer to each other.

Everything else goes when nothing refers to it any more. A bulk of records makes tens of thousands
of objects at once, none of them in a circle; with Python's usual thresholds the search takes about
a sixth of the time of a bulk (docs/performance.md).
"""

from __future__ import annotations

import gc
from typing import Final

__all__ = ["search_seldom"]

_NEW_OBJECTS: Final = 20_000
"""More objects than there were, by so many, begin a search among the new ones; Python's: 700."""


def search_seldom() -> None:
    """Search less often, and never among what is there now and stays: modules, classes, caches."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, *gc.get_threshold()[1:])
