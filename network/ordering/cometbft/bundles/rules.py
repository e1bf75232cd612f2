"""Which bundles may be ordered: the rules that every validator applies alike.

One bundle, for the block of number n (a violation is a `BundleError` with its code):

1. it has the form of `bundle.py`, within the limits of BatchSize
2. it is for this channel
3. n ≤ valid_until ≤ n + WINDOW
4. no bundle with its id is in the last WINDOW blocks
5. its signer is valid, of a member that has a consenter, its signature in its one canonical form
   satisfies /Channel/Orderer/BlockValidation
6. envelopes of clients: each passes every rule of `admission.py`, and none is a configuration
   update; a configuration: its envelope is signed by the bundle's own signer, passes the rules for
   what an orderer makes, and may follow the configuration in force, as committers judge it, and as
   this channel's engine can go on ordering under it
7. no certificate that signed in it or for it has expired at the block's time; in a rehearsal, whose
   time its operator sets on each node, this is not asked

All bundles of one block:

8. each is there once; a configuration stands alone
9. their envelopes are within BatchSize together, as those of one bundle

Invariants: the answer follows from the bytes, the configuration in force, the window, n and the
time that is passed in: no clock, no chance, no order of arrival. So honest validators agree on
every proposal, and no lying one gets an envelope into a block that stops the channel. `select`
returns only what `verify_proposal` takes. Rules 5 and 6, which cost the most, are worked out once
for each bundle under one configuration (`judged.py`). Used on any thread, while the standing of
the chain does not change.

Absent: how much may wait (`quota.py`), what a transaction does, its duplicates.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from datetime import datetime
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from fabric_protos.common import common_pb2

from network.configuration import ChannelConfiguration, verify_config_envelope
from network.decoding import decode_message
from network.errors import ConfigurationError, IdentityError, OrderingRefusal, PolicyError
from network.msp import Identity
from network.ordering.admission import Admission
from network.ordering.block_signature import BLOCK_VALIDATION_POLICY
from network.ordering.cometbft.bundles.bundle import (
    Bundle,
    BundleCode,
    BundleError,
    BundleHead,
    BundleKind,
    BundleLimits,
    limits_of,
    read_head,
)
from network.ordering.cometbft.bundles.judged import Judged, JudgedBundles
from network.ordering.cometbft.bundles.quota import Part, Quotas
from network.ordering.cometbft.bundles.selection import Candidate, choose
from network.ordering.cometbft.bundles.window import WINDOW
from network.ordering.cometbft.ports import Standing
from network.ordering.reconfiguration import verify_orderable
from network.policy import SignedData, why_not_valid

__all__ = ["BundleRules", "verify_signer"]

MOST_WORDS: Final = 1000
"""Characters of a reason that others' bytes went into."""


class BundleRules:
    """The rules of one channel.

    Args:
        standing: gives the chain's present standing.
        verify_following: raises ConfigurationError if the engine could not order under a
            configuration that otherwise may follow; deterministic.
        judged: where results are kept.
    """

    def __init__(
        self,
        standing: Callable[[], Standing],
        *,
        verify_following: Callable[
            [ChannelConfiguration, ChannelConfiguration], None
        ] = verify_orderable,
        judged: JudgedBundles | None = None,
    ) -> None:
        self._standing = standing
        self._verify_following = verify_following
        self._judged = JudgedBundles() if judged is None else judged

    def check(self, raw: bytes, now: datetime, quotas: Quotas | None = None) -> Bundle:
        """Check one bundle by rules 1 to 7, for the block to come.

        Args:
            raw: the bundle.
            now: what certificates' expiry is compared with.
            quotas: where it is to count as waiting; asked before the bundle is expanded. Leave it
                out to look again at one that waits.
        Raises:
            BundleError: the first rule that it breaks, or the member's quota is used up.
        """
        standing = self._standing()
        judged = self._judge(raw, standing, quotas)
        _verify_not_expired(judged, now, standing.configuration)
        if quotas is not None:
            head = judged.bundle.head
            part = _part_of_a_block(standing.configuration)
            quotas.add(
                head.bundle_id, judged.msp_id, len(raw), head.valid_until, part, head.envelope_bytes
            )
        return judged.bundle

    def select(self, raws: Iterable[bytes], max_tx_bytes: int, time: datetime) -> list[bytes]:
        """Choose the bundles of a proposal, in their order.

        What may no longer be ordered is left out. A configuration goes first, alone; else members
        take turns (`selection.py`).

        Args:
            raws: what waits, the oldest first.
            max_tx_bytes: of all of them in CometBFT's block, with their framing.
            time: of the block.
        """
        standing = self._standing()
        candidates, ids = [], set()
        for raw in raws:
            try:
                judged = self._judge(raw, standing)
                _verify_not_expired(judged, time, standing.configuration)
            except BundleError:
                continue
            if judged.bundle.bundle_id not in ids:
                ids.add(judged.bundle.bundle_id)
                candidates.append(Candidate(judged.bundle, judged.msp_id))
        configuration = standing.configuration
        chosen = choose(
            candidates,
            limits_of(configuration.batch),
            max_tx_bytes,
            sorted({each.msp_id for each in configuration.consenters}),
            standing.height,
        )
        return [each.bundle.raw for each in chosen]

    def verify_proposal(self, raws: Sequence[bytes], time: datetime) -> tuple[Bundle, ...]:
        """Check all bundles of a proposed block by all rules; none is no fault.

        Args:
            raws: the block's transactions, in their order.
            time: of the block.
        Raises:
            BundleError: the first rule that is broken.
        """
        standing = self._standing()
        limits = limits_of(standing.configuration.batch)
        heads = []
        for raw in raws:
            head = self._head(raw, limits)
            _verify_place(head, standing)
            head.verify_size(limits)
            heads.append(head)
        # Before any of them is expanded: what a proposer makes of little must not cost much.
        _verify_together(heads, limits)
        found = []
        for raw in raws:
            judged = self._judge(raw, standing)
            _verify_not_expired(judged, time, standing.configuration)
            found.append(judged.bundle)
        return tuple(found)

    def _head(self, raw: bytes, limits: BundleLimits) -> BundleHead:
        known = self._judged.get(hashlib.sha256(raw).digest())
        return read_head(raw, limits) if known is None else known.bundle.head

    def open_decided(self, raws: Sequence[bytes]) -> tuple[Bundle, ...]:
        """Open the bundles of a block that the validators have decided on.

        More than two thirds of them have applied the rules, so signatures are not verified again
        where they were not here, as while catching up; committers judge every transaction anyway.

        Raises:
            BundleError: one is no bundle, so no honest validator can have accepted it.
        """
        limits = limits_of(self._standing().configuration.batch)
        found = []
        for raw in raws:
            known = self._judged.get(hashlib.sha256(raw).digest())
            found.append(read_head(raw, limits).expand(limits) if known is None else known.bundle)
        _verify_together([each.head for each in found], limits)
        return tuple(found)

    def has_judged(self, bundle_ids: Iterable[bytes]) -> bool:
        """Tell whether each was judged under the configuration in force, and is remembered."""
        sequence = self._standing().configuration.sequence
        found = (self._judged.get(each) for each in bundle_ids)
        return all(each is not None and each.sequence == sequence for each in found)

    def adopt(self, judged: Judged) -> None:
        """Take over the result for a bundle of this node's own, whose envelopes it has checked."""
        self._judged.put(judged)

    def forget(self, bundle_ids: Iterable[bytes]) -> None:
        """Keep nothing of these any longer: they are in a block."""
        self._judged.forget(bundle_ids)

    def _judge(self, raw: bytes, standing: Standing, quotas: Quotas | None = None) -> Judged:
        """Apply rules 1 to 6."""
        configuration = standing.configuration
        limits = limits_of(configuration.batch)
        known = self._judged.get(hashlib.sha256(raw).digest())
        head = read_head(raw, limits) if known is None else known.bundle.head
        _verify_place(head, standing)
        if known is not None and known.sequence == configuration.sequence:
            return known
        head.verify_size(limits)
        signer = verify_signer(head, configuration)
        with ExitStack() as account:
            if quotas is not None:
                part = _part_of_a_block(configuration)
                quotas.verify_room(
                    head.bundle_id, signer.msp_id, len(raw), part, head.envelope_bytes
                )
                quotas.verify_credit(signer.msp_id)
                account.enter_context(quotas.charged(signer.msp_id))
            bundle = head.expand(limits) if known is None else known.bundle
            if bundle.kind is BundleKind.CONFIGURATION:
                expiries = [self._judge_configuration(bundle, configuration)]
            else:
                expiries = _judge_envelopes(bundle, configuration)
        judged = Judged(
            bundle, signer.msp_id, configuration.sequence, min([signer.not_after, *expiries])
        )
        self._judged.put(judged)
        return judged

    def _judge_configuration(self, bundle: Bundle, configuration: ChannelConfiguration) -> datetime:
        """Apply rule 6 to a configuration; return when its signer's certificate expires."""
        (envelope,) = bundle.envelopes
        try:
            examined = _admission(configuration).examine_made(envelope)
            data = _configuration_in(envelope, configuration.channel_id)
            if examined.creator != bundle.head.creator:
                raise ConfigurationError(
                    "its envelope is not signed by the node that signed the bundle: have a node "
                    "make the configuration of the update"
                )
            following = verify_config_envelope(configuration, data)
            self._verify_following(configuration, following)
        except (ConfigurationError, PolicyError, OrderingRefusal) as refused:
            raise BundleError(
                BundleCode.CONFIGURATION,
                f"the configuration in it may not follow that of sequence "
                f"{configuration.sequence}: {str(refused)[:MOST_WORDS]}",
            ) from refused
        return examined.not_after


def _admission(configuration: ChannelConfiguration) -> Admission:
    return Admission(configuration.channel_id, lambda: configuration, _NoTime())


def _part_of_a_block(configuration: ChannelConfiguration) -> Part:
    """Return what of a block each member that orders may have waiting."""
    limits = limits_of(configuration.batch)
    return Part(limits.bundle_bytes // len(configuration.consenters), limits.envelope_bytes)


class _NoTime:
    """The clock of rules that do not ask for the time."""

    def now(self) -> datetime:
        """Refuse."""
        raise AssertionError("the rules of bundles are told the block's time")


def _verify_place(head: BundleHead, standing: Standing) -> None:
    """Apply rules 2 to 4."""
    if head.channel_id != standing.channel_id:
        raise BundleError(
            BundleCode.FOREIGN,
            f"the bundle is for channel {head.channel_id[:80]!r}, and this is channel "
            f"{standing.channel_id!r}: send it to that one",
        )
    number = standing.height
    if not number <= head.valid_until <= number + WINDOW:
        raise BundleError(
            BundleCode.OUT_OF_TIME,
            f"the bundle is valid until block {head.valid_until}, and block {number} comes now: "
            f"make it anew, valid for at most {WINDOW} blocks",
        )
    if head.bundle_id in standing.seen:
        raise BundleError(
            BundleCode.REPEATED,
            f"the bundle {head.bundle_id.hex()} is in a block already: send other envelopes",
        )


def verify_signer(head: BundleHead, configuration: ChannelConfiguration) -> Identity:
    """Apply rule 5."""
    try:
        signer = configuration.msps.deserialize_at_door(head.creator)
    except IdentityError as unknown:
        raise _not_a_consenter(str(unknown)) from unknown
    if signer.msp_id not in {each.msp_id for each in configuration.consenters}:
        raise _not_a_consenter(
            f"{signer.msp_id} has no consenter on channel {configuration.channel_id}: send the "
            "envelopes to a node of a member that has one"
        )
    if not _is_canonical(signer, head.signature):
        raise _not_a_consenter("the ECDSA signature is not in its DER form: send it as it was made")
    signed = SignedData(data=head.signed, identity=head.creator, signature=head.signature)
    try:
        configuration.policies.evaluate(BLOCK_VALIDATION_POLICY, [signed])
    except PolicyError as refused:
        reason = why_not_valid(signed, configuration.msps) or str(refused)
        raise _not_a_consenter(
            f"{reason}; {BLOCK_VALIDATION_POLICY} must be satisfied"
        ) from refused
    return signer


def _not_a_consenter(reason: str) -> BundleError:
    return BundleError(
        BundleCode.NOT_A_CONSENTER,
        f"the bundle is not signed as it must be: {reason[:MOST_WORDS]}",
    )


def _is_canonical(signer: Identity, signature: bytes) -> bool:
    """Tell whether nobody else could turn the signature into another one that verifies, too.

    That would be a bundle with another id and the same envelopes. An MSP refuses the high S, and
    reads more forms of DER than one; Ed25519 has one form.
    """
    if not isinstance(signer.certificate.public_key, ec.EllipticCurvePublicKey):
        return True
    try:
        return encode_dss_signature(*decode_dss_signature(signature)) == signature
    except ValueError:
        return False


def _judge_envelopes(bundle: Bundle, configuration: ChannelConfiguration) -> list[datetime]:
    """Apply rule 6 to envelopes of clients; return when their certificates expire."""
    admission = _admission(configuration)
    expiries = []
    for place, envelope in enumerate(bundle.envelopes):
        try:
            examined = admission.examine(envelope)
        except OrderingRefusal as refused:
            raise BundleError(
                BundleCode.ENVELOPE,
                f"envelope {place} of the bundle may not be in a block: "
                f"{str(refused)[:MOST_WORDS]}",
            ) from refused
        if examined.is_update:
            raise BundleError(
                BundleCode.ENVELOPE,
                f"envelope {place} of the bundle is a configuration update: put the configuration "
                "that it gives into a bundle of its own",
            )
        expiries.append(examined.not_after)
    return expiries


def _configuration_in(envelope: bytes, channel_id: str) -> bytes:
    """Return the marshalled ConfigEnvelope of an envelope of type CONFIG for this channel."""
    what, error = "the configuration's envelope", ConfigurationError
    message = decode_message(common_pb2.Envelope, envelope, what, error)
    payload = decode_message(common_pb2.Payload, message.payload, what, error)
    header = decode_message(common_pb2.ChannelHeader, payload.header.channel_header, what, error)
    if header.type != common_pb2.CONFIG or header.channel_id != channel_id:
        raise ConfigurationError(
            f"its envelope is no configuration of channel {channel_id}: have a node make one of "
            "the update"
        )
    data: bytes = payload.data
    return data


def _verify_not_expired(
    judged: Judged, time: datetime, configuration: ChannelConfiguration
) -> None:
    """Apply rule 7."""
    if time >= judged.not_after and not configuration.is_rehearsal:
        raise BundleError(
            BundleCode.OUT_OF_TIME,
            f"a certificate that signed in the bundle expired at {judged.not_after.isoformat()}: "
            "have it renewed by the member's CA",
        )


def _verify_together(bundles: Sequence[BundleHead], limits: BundleLimits) -> None:
    """Apply rules 8 and 9, by what the bundles say of themselves."""
    if len({each.bundle_id for each in bundles}) != len(bundles):
        raise BundleError(BundleCode.PROPOSAL, "the proposal holds a bundle twice: leave one out")
    if len(bundles) > 1 and any(each.kind is BundleKind.CONFIGURATION for each in bundles):
        raise BundleError(
            BundleCode.PROPOSAL,
            f"the proposal holds a configuration among {len(bundles)} bundles: let it stand alone",
        )
    envelopes = sum(each.count for each in bundles)
    size = sum(each.envelope_bytes for each in bundles)
    if envelopes > limits.envelopes or size > limits.envelope_bytes:
        raise BundleError(
            BundleCode.PROPOSAL,
            f"the proposal holds {envelopes} envelopes of {size} bytes, and a block takes "
            f"{limits.envelopes} of {limits.envelope_bytes}: leave some for the next one",
        )
