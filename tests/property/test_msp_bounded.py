"""The bounded cache against a dictionary that forgets nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from network.msp.bounded import BoundedCache

keys = st.integers(0, 12)
steps = st.lists(st.tuples(st.booleans(), keys), max_size=120)


@given(size=st.integers(1, 8), steps=steps)
def test_cache_is_bounded_and_tells_only_what_it_was_told(size, steps) -> None:
    """An entry may be forgotten; a wrong one is never given."""
    cache: BoundedCache[int, str] = BoundedCache(size)
    told: dict[int, str] = {}
    for number, (put, key) in enumerate(steps):
        if put:
            told[key] = f"{key}@{number}"
            cache.put(key, told[key])
            assert cache.get(key) == told[key]
        else:
            found = cache.get(key)
            assert found is None or found == told[key]
        assert len(cache) <= max(2, size)


@given(size=st.integers(4, 20), others=st.lists(st.integers(1, 1000), max_size=200))
def test_entry_that_is_asked_for_stays(size, others) -> None:
    """However many others come by."""
    cache: BoundedCache[int, str] = BoundedCache(size)
    cache.put(0, "kept")
    for other in others:
        cache.put(other, "other")
        assert cache.get(0) == "kept"
