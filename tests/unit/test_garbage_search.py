"""A node searches seldom for objects that only refer to each other, and still finds them."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from nodes.garbage import search_seldom


@pytest.fixture
def _as_before() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


class Circle:
    """Refers to itself."""

    def __init__(self) -> None:
        self.itself = self


@pytest.mark.usefixtures("_as_before")
def test_circle_made_later_goes_after_some_ten_thousand_objects() -> None:
    """A seldom search is one all the same: a long-lived node must not grow without end."""
    search_seldom()
    gone = weakref.ref(Circle())
    made: list[list[int]] = [[] for _ in range(1000)]
    assert gone() is not None
    made += [[] for _ in range(40_000)]
    assert gone() is None


@pytest.mark.usefixtures("_as_before")
def test_what_is_there_at_the_start_is_not_looked_through_again() -> None:
    """Modules and classes live as long as the process."""
    search_seldom()
    assert gc.get_freeze_count() > 1000
    assert len(gc.get_objects(generation=2)) < 1000
