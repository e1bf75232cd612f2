"""Which bundles may be ordered, rule by rule, and that each costs its work once."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from fabric_protos.common import common_pb2

from ledger.blocks.structure import verify_block_structure
from network.configuration import ChannelConfiguration, verify_config_envelope
from network.msp.keys import CURVE_ORDERS
from network.ordering import admission, reconfiguration
from network.ordering.cometbft.blocks.ordered import make_block
from network.ordering.cometbft.bundles.bundle import (
    BundleCode,
    BundleError,
    BundleKind,
    limits_of,
    read_head,
)
from network.ordering.cometbft.bundles.judged import JudgedBundles
from network.ordering.cometbft.bundles.quota import Quotas
from network.ordering.cometbft.bundles.rules import BundleRules
from network.ordering.cometbft.bundles.window import WINDOW
from network.ordering.reconfiguration import make_configuration
from tests.support.bundles import (
    LIMIT,
    bundle,
    channel_of,
    channel_with_follower,
    client_of,
    comet_channel,
    compressed,
    content,
    envelopes,
    forged,
    named,
    node_of,
    rules_of,
    standing,
)
from tests.support.consenters import four_members
from tests.support.members import CHANNEL, NOW, Member, signed_envelope
from tests.support.updates import signed_update

ROOM = 10**7
LATER = NOW + timedelta(days=1)
AFTER_EXPIRY = NOW + timedelta(days=366)
BANK = four_members()[0]


def refusal(raw: bytes, chain=None, now=NOW) -> BundleError:
    """What CheckTx and ProcessProposal say of it; PrepareProposal leaves it out."""
    chain = chain or standing()
    with pytest.raises(BundleError) as refused:
        rules_of(chain).check(raw, now)
    with pytest.raises(BundleError) as rejected:
        rules_of(chain).verify_proposal([raw], now)
    assert rejected.value.code == refused.value.code
    assert str(rejected.value) == str(refused.value)
    assert rules_of(chain).select([raw], ROOM, now) == []
    return refused.value


def batch_update(configuration: ChannelConfiguration, count: int) -> bytes:
    """An update of MaxMessageCount, signed by admins of all members."""

    def edit(config) -> None:
        value = config.channel_group.groups["Orderer"].values["BatchSize"]
        # Field 1 of BatchSize.
        value.value = b"\x08" + bytes([count]) + value.value[2:]

    admins = [each.identity("admin", "admin") for each in four_members()]
    return signed_update(configuration, edit, admins)


def configuration_bundle(
    chain=None, update: bytes | None = None, signer: Member = BANK, maker: Member | None = None
) -> bytes:
    chain = chain or standing()
    made = make_configuration(
        chain.configuration,
        update or batch_update(chain.configuration, 9),
        node_of(maker or signer),
        NOW,
    )
    return bundle(signer, [made], kind=BundleKind.CONFIGURATION)


@pytest.mark.parametrize("member", four_members(), ids=lambda each: each.msp_id)
def test_bundle_of_a_consenters_node_may_be_ordered(member) -> None:
    """Of any member that orders, with envelopes of any member."""
    raw = bundle(member, envelopes(3, BANK) + envelopes(2, four_members()[2]))
    rules = rules_of(standing())
    opened = rules.check(raw, NOW)
    assert len(opened.envelopes) == 5
    assert rules.select([raw], ROOM, NOW) == [raw]
    assert rules.verify_proposal([raw], NOW) == (opened,)
    assert rules.open_decided([raw]) == (opened,)


def test_rule_1_size_before_anything_else() -> None:
    """A bundle longer than any may be is not even read."""
    limits = limits_of(comet_channel().batch)
    assert refusal(bytes(limits.bundle_bytes + 1)).code is BundleCode.TOO_LARGE
    assert refusal(b"anything").code is BundleCode.MALFORMED


def test_rule_1_number_and_size_of_envelopes() -> None:
    """More than MaxMessageCount or AbsoluteMaxBytes is refused, though each alone is admitted."""
    assert refusal(bundle(inside=envelopes(21))).code is BundleCode.TOO_LARGE
    large = envelopes(4, size=LIMIT // 4)
    assert refusal(bundle(inside=large)).code is BundleCode.TOO_LARGE
    rules_of(standing()).check(bundle(inside=large[:3]), NOW)


def test_rule_2_bundle_of_another_channel() -> None:
    """With both names."""
    found = refusal(bundle(channel_id="other"))
    assert found.code is BundleCode.FOREIGN
    assert "'other'" in str(found)
    assert f"'{CHANNEL}'" in str(found)


@pytest.mark.parametrize("valid_until", [0, 6, 7 + WINDOW + 1, (1 << 64) - 1])
def test_rule_3_bundle_out_of_time(valid_until) -> None:
    """Expired, or valid for longer than its id would be remembered."""
    assert refusal(bundle(valid_until=valid_until)).code is BundleCode.OUT_OF_TIME


@pytest.mark.parametrize("valid_until", [7, 7 + WINDOW])
def test_rule_3_bundle_in_time(valid_until) -> None:
    """Both ends count."""
    rules_of(standing()).check(bundle(valid_until=valid_until), NOW)


def test_rule_4_bundle_that_is_in_a_block_already() -> None:
    """Its id is among those of the window."""
    raw = bundle()
    seen = {rules_of(standing()).check(raw, NOW).bundle_id}
    assert refusal(raw, standing(seen=seen)).code is BundleCode.REPEATED


def test_rule_5_signer_of_no_member() -> None:
    """A stranger, and one whose certificate claims to be a member's."""
    stranger = Member("BankMSP").identity("node", "peer")
    assert refusal(bundle(signer=stranger)).code is BundleCode.NOT_A_CONSENTER
    other = Member("OtherMSP").identity("node", "peer")
    assert refusal(bundle(signer=other)).code is BundleCode.NOT_A_CONSENTER


def test_rule_5_member_without_a_consenter() -> None:
    """A member of the channel that does not order has its envelopes ordered by others."""
    configuration, member = channel_with_follower()
    found = refusal(bundle(member), standing(configuration=configuration))
    assert found.code is BundleCode.NOT_A_CONSENTER
    assert "has no consenter" in str(found)
    # Its envelopes may be in others' bundles.
    chain = standing(configuration=configuration)
    rules_of(chain).check(bundle(BANK, envelopes(2, member)), NOW)


@pytest.mark.parametrize("unit", ["client", "admin"])
def test_rule_5_identity_that_is_no_node(unit) -> None:
    """A member's clients sign no bundles: BlockValidation asks for nodes."""
    found = refusal(bundle(signer=BANK.identity("user", unit)))
    assert found.code is BundleCode.NOT_A_CONSENTER
    assert "BlockValidation" in str(found)


def test_rule_5_signature_in_another_form() -> None:
    """With a high S, or DER that Go reads and we do not write, it would be another bundle."""
    raw = bundle()
    head = read_head(raw, limits_of(comet_channel().batch))
    r, s = decode_dss_signature(head.signature)
    high = encode_dss_signature(r, CURVE_ORDERS["secp256r1"] - s)
    longer = head.signature + b"\0"
    for signature in (high, longer, b"", b"\x30\x00"):
        found = refusal(head.signed + named(signature))
        assert found.code is BundleCode.NOT_A_CONSENTER


def test_rule_5_signature_of_another_bundle() -> None:
    """It covers every byte before it."""
    one, other = (read_head(bundle(), limits_of(comet_channel().batch)) for _ in range(2))
    found = refusal(one.signed + named(other.signature))
    assert found.code is BundleCode.NOT_A_CONSENTER


def test_rule_5_comes_before_the_payload() -> None:
    """Only a consenter's node can make others expand anything."""
    raw = forged(b"no frame", count=1, expanded=20, signer=client_of(BANK))
    assert refusal(raw).code is BundleCode.NOT_A_CONSENTER
    assert refusal(forged(b"no frame", count=1, expanded=20)).code is BundleCode.MALFORMED


def _signed_by_nobody() -> bytes:
    message = common_pb2.Envelope.FromString(envelopes(1)[0])
    message.signature = b"\x30\x06\x02\x01\x01\x02\x01\x01"
    return message.SerializeToString()


@pytest.mark.parametrize(
    "bad",
    [
        b"not an envelope",
        envelopes(1)[0] + b"\x0a\x00",
        _signed_by_nobody(),
        signed_envelope(client_of(BANK), channel_id="other"),
        signed_envelope(client_of(BANK), b"x" * (LIMIT - 1000)),
        signed_envelope(Member("OtherMSP").identity()),
        signed_envelope(client_of(BANK), header_type=common_pb2.CONFIG),
        signed_envelope(client_of(BANK), header_type=common_pb2.ORDERER_TRANSACTION),
        signed_envelope(client_of(BANK), header_type=common_pb2.CONFIG_UPDATE),
    ],
    ids=[
        "no protobuf",
        "not canonical",
        "forged",
        "another channel",
        "too large",
        "no member",
        "configuration",
        "orderer transaction",
        "update",
    ],
)
def test_rule_6_envelope_that_an_orderer_refuses(bad) -> None:
    """One of them keeps the whole bundle out: whoever signed it should have known."""
    if len(bad) > LIMIT - 1000:
        # Within the limits of a bundle, and beyond that of a message.
        bad = signed_envelope(client_of(BANK), b"x" * (LIMIT - len(envelopes(1, size=0)[0]) + 20))
        assert refusal(bundle(inside=[bad])).code is BundleCode.ENVELOPE
        return
    found = refusal(bundle(inside=[*envelopes(1), bad]))
    assert found.code is BundleCode.ENVELOPE
    assert "envelope 1" in str(found)


def test_rule_6_no_admitted_bundle_stops_a_channel() -> None:
    """The block that it makes passes the whole-block checks of every committer."""
    opened = rules_of(standing()).check(bundle(inside=envelopes(5)), NOW)
    block = make_block(7, b"h" * 32, [opened], 3, 0)
    verify_block_structure(block, 7, b"h" * 32)


def test_rule_6_configuration_that_may_follow() -> None:
    """It is what comes of an update that the members agreed on, made by the node that sends it."""
    raw = configuration_bundle()
    rules = rules_of(standing())
    opened = rules.check(raw, NOW)
    assert opened.kind is BundleKind.CONFIGURATION
    assert rules.verify_proposal([raw], NOW) == (opened,)
    payload = common_pb2.Payload.FromString(
        common_pb2.Envelope.FromString(opened.envelopes[0]).payload
    )
    assert verify_config_envelope(comet_channel(), payload.data).batch.max_message_count == 9


def test_rule_6_stale_configuration() -> None:
    """One that rests on a configuration which another one has replaced."""
    raw = configuration_bundle()
    opened = rules_of(standing()).check(raw, NOW)
    payload = common_pb2.Payload.FromString(
        common_pb2.Envelope.FromString(opened.envelopes[0]).payload
    )
    following = verify_config_envelope(comet_channel(), payload.data)
    again = configuration_bundle(update=batch_update(comet_channel(), 8))
    found = refusal(again, standing(configuration=following))
    assert found.code is BundleCode.CONFIGURATION
    assert "sequence" in str(found)


def test_rule_6_configuration_that_another_node_made() -> None:
    """The signer of the bundle is the one who answers for it."""
    raw = configuration_bundle(signer=BANK, maker=four_members()[1])
    found = refusal(raw)
    assert found.code is BundleCode.CONFIGURATION
    assert "not signed by the node" in str(found)


def test_rule_6_configuration_that_nobody_agreed_on() -> None:
    """A lying node cannot have one ordered that a committer would refuse."""
    envelope = common_pb2.Envelope.FromString(
        make_configuration(comet_channel(), batch_update(comet_channel(), 9), node_of(BANK), NOW)
    )
    payload = common_pb2.Payload.FromString(envelope.payload)
    payload.data = payload.data.replace(b"\x08\x09", b"\x08\x08")
    raw = payload.SerializeToString()
    forged_envelope = common_pb2.Envelope(payload=raw, signature=node_of(BANK).sign(raw))
    found = refusal(
        bundle(inside=[forged_envelope.SerializeToString()], kind=BundleKind.CONFIGURATION)
    )
    assert found.code is BundleCode.CONFIGURATION


def test_rule_6_envelope_of_a_client_as_configuration() -> None:
    """What is no configuration is none whatever its bundle says."""
    inside = [signed_envelope(node_of(BANK), header_type=common_pb2.CONFIG)]
    assert (
        refusal(bundle(inside=inside, kind=BundleKind.CONFIGURATION)).code
        is BundleCode.CONFIGURATION
    )
    assert (
        refusal(bundle(inside=envelopes(1), kind=BundleKind.CONFIGURATION)).code
        is BundleCode.CONFIGURATION
    )


def test_rule_6_configuration_under_which_nobody_could_order(monkeypatch) -> None:
    """The engine's own demands count for every validator, not only at the door of one."""

    def edit(config) -> None:
        group = config.channel_group.groups["Orderer"].groups["BankMSP"]
        group.values["Endpoints"].value = b"\x0a\x0elocalhost:9999"

    admins = [each.identity("admin", "admin") for each in four_members()]
    with monkeypatch.context() as at_the_door:
        at_the_door.setattr(reconfiguration, "verify_orderable", lambda _current, _following: None)
        raw = configuration_bundle(update=signed_update(comet_channel(), edit, admins))
    lax = BundleRules(standing, verify_following=lambda _current, _following: None)
    lax.check(raw, NOW)
    found = refusal(raw)
    assert found.code is BundleCode.CONFIGURATION
    assert "orderer endpoint" in str(found)


def test_rule_7_certificates_expire_at_the_blocks_time() -> None:
    """Those of clients and that of the node; the first that expires counts."""
    raw = bundle(inside=[signed_envelope(BANK.identity(days=2))])
    rules_of(standing()).check(raw, LATER)
    assert refusal(raw, now=NOW + timedelta(days=3)).code is BundleCode.OUT_OF_TIME
    short = bundle(signer=BANK.identity("node", "peer", days=2))
    rules_of(standing()).check(short, LATER)
    assert refusal(short, now=NOW + timedelta(days=3)).code is BundleCode.OUT_OF_TIME


def test_rule_7_is_not_asked_in_a_rehearsal() -> None:
    """There every node's operator sets the time, so it is not the same for all."""
    chain = standing(configuration=channel_of(four_members(), rehearsal=True))
    rules_of(chain).check(bundle(), AFTER_EXPIRY)
    assert refusal(bundle(), now=AFTER_EXPIRY).code is BundleCode.OUT_OF_TIME


def test_rule_8_bundle_twice_in_a_proposal() -> None:
    """A lying proposer cannot have envelopes ordered twice; an honest one leaves it out."""
    raw = bundle()
    rules = rules_of(standing())
    with pytest.raises(BundleError, match="twice"):
        rules.verify_proposal([raw, raw], NOW)
    assert rules.select([raw, raw], ROOM, NOW) == [raw]


def test_rule_8_configuration_among_others() -> None:
    """A configuration goes first, alone, whatever waits before it."""
    others, configuration = [bundle(), bundle(four_members()[1])], configuration_bundle()
    rules = rules_of(standing())
    for proposal in ([others[0], configuration], [configuration, *others]):
        with pytest.raises(BundleError, match="alone"):
            rules.verify_proposal(proposal, NOW)
    assert rules.select([*others, configuration], ROOM, NOW) == [configuration]


def test_rule_9_block_within_the_limits_of_one() -> None:
    """MaxMessageCount and AbsoluteMaxBytes hold for all bundles of a block together."""
    rules = rules_of(standing())
    many = [bundle(each, envelopes(7, each)) for each in four_members()]
    with pytest.raises(BundleError, match="28 envelopes"):
        rules.verify_proposal(many, NOW)
    rules.verify_proposal(many[:2], NOW)
    large = [bundle(each, envelopes(2, each, size=LIMIT // 4)) for each in four_members()]
    with pytest.raises(BundleError, match=r"8 envelopes of 2\d{5} bytes"):
        rules.verify_proposal(large, NOW)
    for waiting in (many, large):
        chosen = rules.select(waiting, ROOM, NOW)
        assert 0 < len(chosen) < len(waiting)
        rules.verify_proposal(chosen, NOW)


def test_rule_9_comes_before_any_bundle_is_expanded(monkeypatch) -> None:
    """What a few bytes expand to costs nothing where it is more than a block: no proposer keeps the
    others busy until the round is over.
    """
    counted = _count_examinations(monkeypatch)
    same = envelopes(1)[0]
    raws = [bundle(inside=[same] * 20) for _ in range(30)]
    with pytest.raises(BundleError, match="600 envelopes") as refused:
        rules_of(standing()).verify_proposal(raws, NOW)
    assert refused.value.code is BundleCode.PROPOSAL
    assert counted == [0]


def test_proposal_of_nothing_is_no_fault() -> None:
    """CometBFT makes an empty block to prove an app hash."""
    assert rules_of(standing()).verify_proposal([], NOW) == ()


def test_bundle_is_worked_through_once(monkeypatch) -> None:
    """After CheckTx the other stages find the result, until another configuration is in force."""
    chain = standing()
    rules = rules_of(chain)
    counted = _count_examinations(monkeypatch)
    raw = bundle(inside=envelopes(5))
    first = rules.check(raw, NOW)
    assert counted == [5]
    again = [
        rules.check(raw, NOW),
        *rules.verify_proposal([raw], NOW),
        *rules.open_decided([raw]),
    ]
    assert rules.select([raw], ROOM, NOW) == [raw]
    assert counted == [5]
    assert all(each is first for each in again)
    chain.configuration = _next_configuration()
    rules.check(raw, NOW)
    assert counted == [10]


def _next_configuration() -> ChannelConfiguration:
    opened = rules_of(standing()).check(configuration_bundle(), NOW)
    payload = common_pb2.Payload.FromString(
        common_pb2.Envelope.FromString(opened.envelopes[0]).payload
    )
    return verify_config_envelope(comet_channel(), payload.data)


def _count_examinations(monkeypatch) -> list[int]:
    counted = [0]
    examine = admission.Admission.examine

    def counting(self, envelope):
        counted[0] += 1
        return examine(self, envelope)

    monkeypatch.setattr(admission.Admission, "examine", counting)
    return counted


def test_new_configuration_takes_from_waiting_bundles_what_it_forbids() -> None:
    """What was admitted under the old one is judged anew, its size too."""
    chain = standing()
    rules = rules_of(chain)
    raw = bundle(inside=envelopes(12))
    rules.check(raw, NOW)
    chain.configuration = _next_configuration()  # MaxMessageCount 9
    with pytest.raises(BundleError) as refused:
        rules.check(raw, NOW)
    assert refused.value.code is BundleCode.TOO_LARGE
    assert rules.select([raw], ROOM, NOW) == []


def test_cached_result_does_not_outlive_time_and_window() -> None:
    """Place in the chain, window and expiry are asked every time."""
    chain = standing()
    rules = rules_of(chain)
    raw = bundle(valid_until=9)
    bundle_id = rules.check(raw, NOW).bundle_id
    with pytest.raises(BundleError):
        rules.check(raw, AFTER_EXPIRY)
    chain.height = 10
    with pytest.raises(BundleError):
        rules.check(raw, NOW)
    chain.height, chain.seen = 8, {bundle_id}
    with pytest.raises(BundleError):
        rules.check(raw, NOW)


def test_decided_bundles_are_opened_without_verifying_signatures() -> None:
    """A node that catches up relies on the validators' decision; what is no bundle is an error."""
    inside = envelopes(2)
    whole = content(inside)
    raw = forged(compressed(whole), count=2, expanded=len(whole), signer=client_of(BANK))
    rules = rules_of(standing())
    assert rules.open_decided([raw])[0].envelopes == tuple(inside)
    with pytest.raises(BundleError):
        rules.check(raw, NOW)
    with pytest.raises(BundleError):
        rules.open_decided([b"anything"])
    with pytest.raises(BundleError, match="twice"):
        rules.open_decided([raw, raw])


def test_results_are_bounded_by_number_and_bytes() -> None:
    """The longest unused go first; one that is larger than all may be is kept alone."""
    judged = JudgedBundles(count=3, size_bytes=10**9)
    rules = BundleRules(standing, judged=judged)
    raws = [bundle() for _ in range(5)]
    for raw in raws:
        rules.check(raw, NOW)
    assert len(judged) == 3
    small = JudgedBundles(count=100, size_bytes=1)
    rules = BundleRules(standing, judged=small)
    for raw in raws:
        rules.check(raw, NOW)
    assert len(small) == 1
    opened = rules.check(raws[-1], NOW)
    assert small.kept_bytes == opened.memory_bytes
    rules.forget([opened.bundle_id])
    assert (len(small), small.kept_bytes) == (0, 0)


def test_quota_is_asked_before_the_bundle_is_expanded() -> None:
    """A member beyond its share costs one signature for each further bundle."""
    rules, quotas = rules_of(standing()), Quotas(bundles=1)
    rules.check(bundle(), NOW, quotas)
    broken = forged(b"no frame", count=1, expanded=20)
    with pytest.raises(BundleError) as refused:
        rules.check(broken, NOW, quotas)
    assert refused.value.code is BundleCode.QUOTA
    other = bundle(four_members()[1])
    assert rules.check(other, NOW, quotas).bundle_id in quotas
    assert len(quotas) == 2


def test_member_that_wastes_work_costs_a_signature_for_each_further_bundle() -> None:
    """Its bundles are refused before they are expanded; those that wait are judged on."""
    worked = iter(range(1000))
    rules, quotas = rules_of(standing()), Quotas(work=lambda: float(next(worked)))
    good = bundle()
    rules.check(good, NOW, quotas)
    codes = []
    for _ in range(8):
        with pytest.raises(BundleError) as refused:
            rules.check(bundle(inside=[b"bad"]), NOW, quotas)
        codes.append(refused.value.code)
    assert codes[0] is BundleCode.ENVELOPE
    assert codes[-1] is BundleCode.QUOTA
    rules.check(good, NOW)
    rules.check(bundle(four_members()[1]), NOW, quotas)


def test_all_that_waits_is_seen_by_whoever_proposes() -> None:
    """However much each member sends, it fits into what CometBFT shows for one block."""
    rules, quotas = rules_of(standing()), Quotas()
    waiting: dict[str, list[int]] = {}
    for member in four_members():
        for _ in range(5):
            noise = signed_envelope(client_of(member), os.urandom(30_000))
            raw = bundle(member, [noise])
            refusals = []
            try:
                rules.check(raw, NOW, quotas)
            except BundleError as refused:
                refusals.append(refused.code)
            assert refusals in ([], [BundleCode.QUOTA])
            if not refusals:
                waiting.setdefault(member.msp_id, []).append(len(raw))
    assert [len(each) for each in waiting.values()] == [2, 2, 2, 2]
    total = sum(map(sum, waiting.values()))
    assert total <= limits_of(comet_channel().batch).bundle_bytes


def test_bundles_that_expand_to_much_wait_one_block_full_at_most(monkeypatch) -> None:
    """However small they travel, so that what waits is judged once and not for every block."""
    rules, quotas = rules_of(standing()), Quotas()
    counted = _count_examinations(monkeypatch)
    same = envelopes(1, size=LIMIT // 50)[0]
    fitting = LIMIT // (20 * len(same))
    for _ in range(fitting):
        rules.check(bundle(inside=[same] * 20), NOW, quotas)
    for _ in range(10):
        raw = bundle(inside=[same] * 20)
        assert len(raw) < LIMIT // 20
        with pytest.raises(BundleError) as refused:
            rules.check(raw, NOW, quotas)
        assert refused.value.code is BundleCode.QUOTA
    assert len(quotas) == fitting > 0
    assert counted == [20 * fitting]


def test_bundle_that_is_refused_takes_no_quota() -> None:
    """Only what waits counts."""
    rules, quotas = rules_of(standing()), Quotas()
    with pytest.raises(BundleError):
        rules.check(bundle(inside=[b"bad"]), NOW, quotas)
    assert len(quotas) == 0
