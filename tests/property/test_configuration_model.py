"""Configurations and updates against a naive model, and with foreign bytes.

The model of a configuration is a dictionary from a path to what stands there; an edit changes it.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from random import Random
from typing import Any

from fabric_protos.common import common_pb2, configtx_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import Refusal
from network.configuration import (
    ChannelConfiguration,
    apply_update,
    compute_update,
    config_of_block,
    describe_changes,
    edits,
    verify_config_envelope,
)
from network.configuration.elements import GROUP, map_elements
from network.errors import ConfigurationError, OrderingRefusal, PolicyError
from network.ordering.reconfiguration import make_configuration
from tests.support.members import CHANNEL, NOW, Member, genesis
from tests.support.recording import recorded_blocks
from tests.support.updates import edited, sent_update, signed_update, update_message

MEMBERS = [Member("BankMSP"), Member("PtaMSP"), Member("OperatorMSP")]
ADMINS = [each.identity("admin", "admin") for each in MEMBERS]
NAYA = Member("NayaMSP").spec()
CURRENT = ChannelConfiguration.from_block(genesis(MEMBERS))

NODE = MEMBERS[0].identity("node", "peer")
SENT = signed_update(CURRENT, lambda config: edits.set_batch(config, {"timeout": "2s"}), ADMINS[:1])

Mutation = Callable[[Any, Random], None]


def unless_refused(work: Callable[[], Any]) -> Any:
    """Return what *work* gives, None if it is refused; any other error is a fault."""
    try:
        return work()
    except (ConfigurationError, PolicyError):
        return None


def a_group(config: Any, random: Random) -> Any:
    group = config.channel_group if hasattr(config, "channel_group") else config
    while group.groups and random.random() < 0.7:
        group = group.groups[random.choice(sorted(group.groups))]
    return group


def change_value(config: Any, random: Random) -> None:
    group = a_group(config, random)
    if group.values:
        entry = group.values[random.choice(sorted(group.values))]
        entry.value = random.choice((random.randbytes(5), entry.value[:-1], b"", entry.value * 2))


def change_policy(config: Any, random: Random) -> None:
    group = a_group(config, random)
    if group.policies:
        entry = group.policies[random.choice(sorted(group.policies))]
        entry.policy.value = random.choice((random.randbytes(6), entry.policy.value + b"\x00", b""))
        entry.policy.type = random.choice((0, 1, 2, 3, 4, 99))


def change_mod_policy(config: Any, random: Random) -> None:
    group = a_group(config, random)
    entries = [group, *group.values.values(), *group.policies.values()]
    entry = random.choice(entries)
    entry.mod_policy = random.choice(("Admins", "Readers", "/Channel/Admins", "", "/", "Nobody"))


def add_element(config: Any, random: Random) -> None:
    group = a_group(config, random)
    kind = random.choice((group.groups, group.values, group.policies))
    kind[random.choice(("Odd", "a.b-c", "Other", "../up", ""))].mod_policy = "Admins"


def remove_element(config: Any, random: Random) -> None:
    group = a_group(config, random)
    kind = random.choice((group.groups, group.values, group.policies))
    if kind:
        del kind[random.choice(sorted(kind))]


def change_version(config: Any, random: Random) -> None:
    group = a_group(config, random)
    entry = random.choice([group, *group.values.values(), *group.policies.values()])
    entry.version = random.choice((0, 1, 2, 2**64 - 1))


def add_member(config: Any, _random: Random) -> None:
    with suppress(Refusal, AttributeError):
        edits.add_member(config, NAYA)


EDITS: tuple[Mutation, ...] = (
    change_value,
    change_policy,
    change_mod_policy,
    add_element,
    remove_element,
    change_version,
    add_member,
)

randoms = st.randoms(use_true_random=False)


def mutated(random: Random, config: Any, mutations: tuple[Mutation, ...] = EDITS) -> None:
    for _ in range(random.randint(1, 4)):
        random.choice(mutations)(config, random)


def content(group: Any) -> dict[str, Any]:
    """What stands where, versions left out."""
    found: dict[str, Any] = {}
    for key, element in map_elements(group, "the model").items():
        if element.kind == GROUP:
            found[key] = (element.mod_policy, b"")
        else:
            message = type(element.message)()
            message.CopyFrom(element.message)
            message.version = 0
            found[key] = message
    return found


@given(randoms)
@settings(max_examples=120)
def test_update_leads_from_any_configuration_to_any_other_or_is_refused(random: Random) -> None:
    """What comes of it holds just what was edited; who applies it again finds the same."""
    config = edited(CURRENT, lambda config: mutated(random, config))
    try:
        wanted = content(config.channel_group)
        update = compute_update(CHANNEL, CURRENT.config, config)
    except ConfigurationError:
        return
    raw = update.SerializeToString(deterministic=True)
    made = unless_refused(lambda: apply_update(CURRENT, sent_update(CHANNEL, raw, ADMINS)))
    if made is None:
        return
    envelope, following = made
    assert content(following.config.channel_group) == wanted
    verify_versions(following)
    found = verify_config_envelope(CURRENT, envelope.SerializeToString())
    assert found.config == following.config


def verify_versions(following: ChannelConfiguration) -> None:
    """An element that differs has gone up by one; one that is new, or the same, has its version."""
    for key, element in following.elements.items():
        before = CURRENT.elements.get(key)
        if before is None:
            assert element.version == 0
        elif element.kind != GROUP:
            assert element.version == before.version + (element.message != before.message)
        else:
            assert element.version - before.version in (0, 1)


@given(randoms)
@settings(max_examples=120)
def test_update_of_any_form_is_applied_or_refused_and_never_half(random: Random) -> None:
    """Whatever the read set and the write set say, all admins having signed."""
    update = update_message(CURRENT, lambda config: edits.set_batch(config, {"timeout": "2s"}))
    side = random.choice((update.read_set, update.write_set))
    mutated(random, side)
    raw = update.SerializeToString(deterministic=True)
    made = unless_refused(lambda: apply_update(CURRENT, sent_update(CHANNEL, raw, ADMINS)))
    if made is None:
        return
    envelope, following = made
    verify_versions(following)
    verify_config_envelope(CURRENT, envelope.SerializeToString())


@given(randoms)
@settings(max_examples=120)
def test_changes_are_described_if_and_only_if_something_differs(random: Random) -> None:
    """In printable words, whatever bytes stand in values and policies."""
    config = edited(CURRENT, lambda config: mutated(random, config))
    try:
        compute_update(CHANNEL, CURRENT.config, config)
        differs = True
    except ConfigurationError as reason:
        if "no differences" not in str(reason):
            return
        differs = False
    changes = describe_changes(CURRENT.config, config)
    assert bool(changes) == differs
    for change in changes:
        assert change.before != change.after
        assert (change.path + (change.before or "") + (change.after or "")).isprintable()


# ---- foreign bytes


@cache
def recorded() -> tuple[tuple[ChannelConfiguration, bytes], ...]:
    """Every recorded configuration with the one in force before it."""
    blocks = recorded_blocks()
    current = ChannelConfiguration.from_block(blocks[0].block)
    found = []
    for each in blocks[1:]:
        config = config_of_block(each.block)
        if config is not None:
            found.append((current, config[1]))
            current = verify_config_envelope(current, config[1])
    return tuple(found)


def damaged(random: Random, raw: bytes) -> bytes:
    found = bytearray(raw)
    for _ in range(random.randint(1, 3)):
        place = random.randrange(len(found))
        match random.randrange(4):
            case 0:
                found[place] = random.randrange(256)
            case 1:
                del found[place : place + random.randint(1, 9)]
            case 2:
                found[place:place] = random.randbytes(random.randint(1, 9))
            case _:
                found[place : place + 4] = b"\xff\xff\xff\x7f"
    return bytes(found)


@given(randoms)
@settings(max_examples=150)
def test_damaged_configuration_follows_only_as_what_it_was(random: Random) -> None:
    """It is refused with a reason, or the damage lies in what nobody looks at."""
    current, raw = random.choice(recorded())
    whole = verify_config_envelope(current, raw)
    found = unless_refused(lambda: verify_config_envelope(current, damaged(random, raw)))
    assert found is None or found.config == whole.config


@given(randoms)
@settings(max_examples=150)
def test_damaged_update_is_applied_as_what_it_was_or_refused(random: Random) -> None:
    """Envelope, payload, update and signatures, cut at any place."""
    made = unless_refused(lambda: apply_update(CURRENT, damaged(random, SENT)))
    assert made is None or made[1].batch.timeout_s == 2.0


@given(randoms)
@settings(max_examples=100)
def test_damaged_update_gives_the_orderer_a_configuration_or_a_refusal(random: Random) -> None:
    """With a status that a client understands, and never another error."""
    sent = random.choice((SENT, random.randbytes(50)))
    with suppress(OrderingRefusal):
        make_configuration(CURRENT, damaged(random, sent), NODE, NOW)


@given(st.binary(max_size=200))
def test_any_bytes_are_no_update_and_no_configuration(raw: bytes) -> None:
    """Also inside an envelope of the right type."""
    header = common_pb2.ChannelHeader(type=common_pb2.CONFIG_UPDATE, channel_id=CHANNEL)
    payload = common_pb2.Payload(data=raw)
    payload.header.channel_header = header.SerializeToString()
    envelope = common_pb2.Envelope(payload=payload.SerializeToString())
    agreed = configtx_pb2.ConfigUpdateEnvelope(config_update=raw)
    payload.data = agreed.SerializeToString()
    inner = common_pb2.Envelope(payload=payload.SerializeToString())
    for sent in (raw, envelope.SerializeToString(), inner.SerializeToString()):
        for read in (apply_update, verify_config_envelope):
            assert unless_refused(partial(read, CURRENT, sent)) is None


def test_large_update_costs_at_most_forty_times_its_size() -> None:
    """Many elements, long names, many signatures: refused or applied within the memory."""

    def many(update: Any) -> None:
        for number in range(30_000):
            update.write_set.values[f"value-{number}"].value = b"x"

    def long(update: Any) -> None:
        inner = update.write_set
        for _ in range(20):
            inner = inner.groups["g" * 249]
        for number in range(30_000):
            inner.values[f"value-{number}"].value = b"x"

    for change in (many, long):
        update = update_message(CURRENT, lambda config: edits.set_batch(config, {"timeout": "2s"}))
        change(update)
        sent = sent_update(CHANNEL, update.SerializeToString(), ADMINS)
        tracemalloc.start()
        try:
            with suppress(ConfigurationError):
                apply_update(CURRENT, sent)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 40 * len(sent)
