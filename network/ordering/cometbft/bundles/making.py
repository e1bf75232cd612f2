"""What a node does in its threads for its own clients: examine envelopes, make bundles of them.

Everything is judged twice: when an envelope arrives, and again when its bundle is made if another
configuration came into force meanwhile. A configuration is made of its update at the last moment:
of two that were on their way together the second is made anew from what the first one left, and
refused, with the reason, if it rests on what the first one changed.

What was examined here is not examined again by this node's own CheckTx: the result goes with the
bundle (`judged.py`). The other nodes make their own.

Invariants: pure but for clock, nonces and signatures; safe to call from any thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from network.configuration import ChannelConfiguration
from network.errors import OrderingRefusal, OrderingUnavailable
from network.msp import SigningIdentity
from network.ordering.admission import REQUEST_ENTITY_TOO_LARGE, Admission
from network.ordering.cometbft.bundles.bundle import (
    Bundle,
    BundleError,
    BundleHead,
    BundleKind,
    limits_of,
    make_bundle,
    read_head,
)
from network.ordering.cometbft.bundles.gathering import Submission
from network.ordering.cometbft.bundles.judged import Judged
from network.ordering.cometbft.bundles.rules import verify_signer
from network.ordering.ports import Clock
from network.ordering.reconfiguration import make_configuration

__all__ = ["BundleMaker", "MadeBundle"]

LIFETIME: Final = 50
"""Blocks for which a bundle is valid: half of what is allowed, so that nodes behind take it too."""

Verdict = OrderingRefusal | OrderingUnavailable | None


@dataclass(frozen=True, slots=True)
class MadeBundle:
    """A bundle of this node.

    Attributes:
        head: as it travels.
        sequence: of the configuration that it was made under.
        judged: the result of examining it, None for a configuration, which CheckTx judges.
    """

    head: BundleHead
    sequence: int
    judged: Judged | None


class BundleMaker:
    """Examines envelopes and makes bundles of them.

    Args:
        signer: the node's identity.
        clock: what certificates' expiry is compared with, and the time of configurations.
    """

    def __init__(self, signer: SigningIdentity, clock: Clock) -> None:
        self._signer = signer
        self._clock = clock

    def examine(
        self, batch: Sequence[Submission], configuration: ChannelConfiguration
    ) -> list[OrderingRefusal | None]:
        """Check envelopes, updates as far as the configuration they give; None for the admitted."""
        return [self._examined(each, configuration) for each in batch]

    def _examined(
        self, submission: Submission, configuration: ChannelConfiguration
    ) -> OrderingRefusal | None:
        admission = Admission(configuration.channel_id, lambda: configuration, self._clock)
        try:
            found = admission.examine(submission.envelope)
            _verify_fits(submission.envelope, configuration)
            if self._clock.now() >= found.not_after:
                # The rule about time has its words there.
                admission.check(submission.envelope)
            if found.is_update:
                # Not kept until its bundle is made: updates that wait must not fill the memory.
                self._configuration_of(submission, configuration)
        except OrderingRefusal as refusal:
            return refusal
        submission.creator, submission.not_after = found.creator, found.not_after
        submission.alone = found.is_update
        submission.sequence = configuration.sequence
        return None

    def _configuration_of(
        self, submission: Submission, configuration: ChannelConfiguration
    ) -> bytes:
        now = self._clock.now()
        made = make_configuration(configuration, submission.envelope, self._signer, now)
        Admission(configuration.channel_id, lambda: configuration, self._clock).check_made(made)
        _verify_fits(made, configuration)
        return made

    def make(
        self, submissions: Sequence[Submission], configuration: ChannelConfiguration, height: int
    ) -> tuple[MadeBundle | None, list[Verdict]]:
        """Make and sign a bundle of what the configuration admits.

        Args:
            submissions: any number of envelopes, or one update alone.
            configuration: in force.
            height: number of the block to come.
        Returns:
            the bundle, None if nothing is left for it; and for each submission why it is not in it.
        """
        verdicts: list[Verdict] = [
            None
            if each.alone or each.sequence == configuration.sequence
            else self._examined(each, configuration)
            for each in submissions
        ]
        left = [each for each, no in zip(submissions, verdicts, strict=True) if no is None]
        if not left:
            return None, verdicts
        try:
            if left[0].alone:
                return self._make_configuration(left[0], configuration, height), verdicts
            return self._make_envelopes(left, configuration, height), verdicts
        except OrderingRefusal as refusal:
            return None, [refusal]
        except BundleError as refused:
            away = OrderingUnavailable(f"this node cannot have anything ordered: {refused}")
            return None, [no or away for no in verdicts]

    def look_again(
        self,
        made: MadeBundle,
        submissions: Sequence[Submission],
        configuration: ChannelConfiguration,
    ) -> list[OrderingRefusal | None] | None:
        """Judge a bundle of envelopes under another configuration than it was made under.

        Returns:
            None if it may still be ordered; else for each envelope why it may not, in any bundle.
        """
        refusals = [self._examined(each, configuration) for each in submissions]
        try:
            made.head.verify_size(limits_of(configuration.batch))
            verify_signer(made.head, configuration)
        except BundleError:
            return refusals
        return refusals if any(refusals) else None

    def _make_configuration(
        self, submission: Submission, configuration: ChannelConfiguration, height: int
    ) -> MadeBundle:
        made = self._configuration_of(submission, configuration)
        head = self._sign([made], BundleKind.CONFIGURATION, configuration, height)
        return MadeBundle(head, configuration.sequence, None)

    def _make_envelopes(
        self, submissions: Sequence[Submission], configuration: ChannelConfiguration, height: int
    ) -> MadeBundle:
        envelopes = tuple(each.envelope for each in submissions)
        head = self._sign(envelopes, BundleKind.ENVELOPES, configuration, height)
        signer = verify_signer(head, configuration)
        expiries: list[datetime] = [signer.not_after, *(each.not_after for each in submissions)]
        judged = Judged(
            Bundle(head, envelopes), signer.msp_id, configuration.sequence, min(expiries)
        )
        return MadeBundle(head, configuration.sequence, judged)

    def _sign(
        self,
        envelopes: Sequence[bytes],
        kind: BundleKind,
        configuration: ChannelConfiguration,
        height: int,
    ) -> BundleHead:
        raw = make_bundle(
            self._signer, configuration.channel_id, height + LIFETIME, envelopes, kind=kind
        )
        limits = limits_of(configuration.batch)
        head = read_head(raw, limits)
        head.verify_size(limits)
        return head


def _verify_fits(envelope: bytes, configuration: ChannelConfiguration) -> None:
    """Check that an envelope fits into a bundle; it may hold more than payload and signature."""
    limit = limits_of(configuration.batch).envelope_bytes
    if len(envelope) > limit:
        raise OrderingRefusal(
            REQUEST_ENTITY_TOO_LARGE,
            f"the envelope is {len(envelope)} bytes and exceeds maximum allowed {limit} bytes; "
            "send fewer records in one transaction, and nothing beside payload and signature",
        )
