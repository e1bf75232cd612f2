"""Files of updates and edited configurations, damaged: a refusal in words, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache, reduce
from operator import getitem
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.configuration.update_file import UpdateFile
from ledger.errors import Refusal
from network.configuration import (
    ChannelConfiguration,
    compute_update,
    describe_changes,
    edits,
    sign_update,
    update_envelope,
)
from network.configuration.agreement import preview_update, read_agreement
from network.configuration.edited import decode_edited, encode_for_editing
from tests.support.members import CHANNEL, NOW, Member, genesis

MEMBERS = [Member("OperatorMSP"), Member("BankMSP")]
HALF = "\ud800"
"""A surrogate alone: half of a character, which no UTF-8 holds."""
ADMINS = [member.identity("admin", "admin") for member in MEMBERS]


@cache
def current() -> ChannelConfiguration:
    return ChannelConfiguration.from_block(genesis(MEMBERS))


@cache
def sound() -> bytes:
    """A file with an update and two signatures."""
    config = type(current().config)()
    config.CopyFrom(current().config)
    edits.add_member(config, Member("NayaMSP").spec())
    edits.set_batch(config, {"max_message_count": "7"})
    update = compute_update(CHANNEL, current().config, config).SerializeToString()
    signatures = [sign_update(update, each) for each in ADMINS]
    return update_envelope(CHANNEL, update, signatures, None, NOW)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Draw the file with some bytes changed, taken out or put in."""
    raw = bytearray(sound())
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(raw) - 1))
        how = draw(st.sampled_from(("change", "cut", "insert")))
        if how == "change":
            raw[place] = draw(st.integers(0, 255))
        elif how == "cut":
            del raw[place : place + draw(st.integers(1, 9))]
        else:
            raw[place:place] = draw(st.binary(max_size=9))
    return bytes(raw)


@given(st.one_of(damaged(), st.binary(max_size=200)))
@settings(max_examples=300, deadline=None)
def test_update_file_of_any_bytes_is_read_or_refused(raw: bytes) -> None:
    """Reading, telling what it changes, telling who signed, and signing it never end otherwise."""
    found = UpdateFile.decode(raw)
    if found is None:
        return
    for use in (
        lambda: describe_changes(current().config, preview_update(current(), found.config_update)),
        lambda: read_agreement(current(), found.config_update, found.signatures),
        lambda: found.signed_by(ADMINS[0]),
    ):
        with suppress(Refusal):
            use()


def places(content: Any, above: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every place of a JSON value but the whole, as the keys that lead to it."""
    inside: Iterable[tuple[str | int, Any]] = ()
    if isinstance(content, dict):
        inside = content.items()
    elif isinstance(content, list):
        inside = enumerate(content)
    for key, value in inside:
        yield (*above, key)
        yield from places(value, (*above, key))


OTHERS: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1 << 70,
    1.5,
    float("nan"),
    "",
    "x",
    HALF,
    [],
    [None],
    {},
    {"": None},
)


def read_edited(content: Any) -> None:
    """Read a configuration, which may be refused."""
    with suppress(Refusal):
        ChannelConfiguration(CHANNEL, decode_edited(current(), json.dumps(content)))


def test_edited_configuration_with_anything_anywhere_is_read_or_refused() -> None:
    """Each place holds each of some other values in turn, and is called otherwise at last."""
    text = encode_for_editing(current())
    for *above, key in list(places(json.loads(text))):
        content = json.loads(text)
        parent = reduce(getitem, above, content)
        for other in OTHERS:
            parent[key] = other
            read_edited(content)
        if isinstance(parent, dict):
            parent[HALF] = parent.pop(key)
            read_edited(content)


@given(st.text(max_size=60))
@settings(max_examples=100, deadline=None)
def test_edited_configuration_of_any_text_is_read_or_refused(text: str) -> None:
    """What is no configuration at all is refused."""
    with pytest.raises(Refusal):
        decode_edited(current(), text)


def test_sound_file_is_read() -> None:
    """What the mutations begin with is an update that the channel takes."""
    found = UpdateFile.decode(sound())
    assert found is not None
    assert read_agreement(current(), found.config_update, found.signatures).is_complete
    with pytest.raises(Refusal, match="signed this update already"):
        found.signed_by(ADMINS[0])
