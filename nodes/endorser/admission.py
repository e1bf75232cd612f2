"""Who may propose, and when: the checks of a proposal against the channel and the clock.

Order and messages: Fabric core/endorser/endorser.go (`preProcess`), msgvalidation.go (`Validate`),
core/handlers/auth/filter (expiry, time window), core/aclmgmt/defaultaclprovider.go. Where Fabric
prints the creator's certificate into a message, we do not: it names a person.

The signature is verified on the calling thread: it takes about 0.1 ms, less than a change of
threads under load. The verdict of the Writers policy is kept for each identity as long as the
configuration stands.
"""

from __future__ import annotations

from collections import OrderedDict
from datetime import timedelta

from network.configuration import LOCAL_ADMINS, LOCAL_MEMBERS, ChannelConfiguration
from network.errors import ConfigurationError, IdentityError, PolicyError, SignatureError
from network.msp import ADMIN, Identity
from nodes.channel import Channel
from nodes.clock import Clock
from nodes.endorser.proposals import ProposalRefusal, UnpackedProposal, verify_form

TIME_WINDOW = timedelta(minutes=15)
SYSTEM_CONTRACTS = frozenset({"_lifecycle", "cscc", "qscc"})
PROPOSE = "peer/Propose"
_VERDICTS = 10_000


class Admission:
    """Decides on proposals for one channel.

    Args:
        channel: whose members may propose.
        clock: what timestamps and expiry are compared with.
        msp_id: this node's member, whose identities decide on what concerns the node alone.
    """

    def __init__(self, channel: Channel, clock: Clock, msp_id: str) -> None:
        self._channel = channel
        self._clock = clock
        self._msp_id = msp_id
        self._configuration: ChannelConfiguration | None = None
        self._allowed: OrderedDict[tuple[bytes, str], None] = OrderedDict()

    def admit(self, proposal: UnpackedProposal) -> Identity:
        """Check *proposal* and return its creator.

        Raises:
            ProposalRefusal: form, creator, signature, expiry, time, replay or access; nothing may
                be simulated.
        """
        self._verify_time(proposal)
        verify_form(proposal)
        creator = self._creator(proposal)
        if creator.not_after < self._clock.now():
            raise ProposalRefusal(
                "proposal client identity expired: the certificate of the creator was valid until "
                f"{creator.not_after:%Y-%m-%d}; enroll it again"
            )
        if self._channel.ledger.has_transaction(proposal.tx_id):
            raise ProposalRefusal(
                f"duplicate transaction found [{proposal.tx_id}]; make a new proposal, "
                "or ask for the status of the first"
            )
        self._verify_access(proposal, creator)
        return creator

    def _verify_time(self, proposal: UnpackedProposal) -> None:
        now = self._clock.now()
        if proposal.timestamp is None:
            raise ProposalRefusal("the proposal has no timestamp; put one in the channel header")
        if abs(proposal.timestamp - now) > TIME_WINDOW:
            raise ProposalRefusal(
                "request unauthorized due to incorrect timestamp "
                f"{proposal.timestamp.isoformat(timespec='seconds')}, more than 15 minutes off "
                f"{now.isoformat(timespec='seconds')} here; set the clock that is wrong, the "
                "client's or this node's, and propose again"
            )

    def _creator(self, proposal: UnpackedProposal) -> Identity:
        channel_id = self._channel.channel_id
        try:
            creator = self._channel.configuration.msps.deserialize_at_door(proposal.creator)
        except IdentityError as error:
            raise ProposalRefusal(
                f"access denied: channel [{channel_id}] creator org unknown, creator is malformed: "
                f"{error}"
            ) from error
        try:
            creator.verify(proposal.proposal_bytes, proposal.signature)
        except SignatureError as error:
            raise ProposalRefusal(
                f"access denied: channel [{channel_id}] creator org [{creator.msp_id}]: {error}"
            ) from error
        return creator

    def _verify_access(self, proposal: UnpackedProposal, creator: Identity) -> None:
        configuration = self._channel.configuration
        if configuration is not self._configuration:
            self._configuration = configuration
            self._allowed.clear()
        resource = resource_of(proposal)
        key = (creator.serialized, resource)
        if key in self._allowed:
            return
        try:
            path = configuration.acl_policy(resource)
            if path in (LOCAL_ADMINS, LOCAL_MEMBERS):
                self._verify_local(path, creator)
            else:
                configuration.policies.policy(path).evaluate([creator])
        except (ConfigurationError, PolicyError) as error:
            raise ProposalRefusal(
                f"access denied for [{resource}] on channel [{self._channel.channel_id}] to an "
                f"identity of {creator.msp_id}: {error}"
            ) from error
        if len(self._allowed) >= _VERDICTS:
            self._allowed.popitem(last=False)
        self._allowed[key] = None

    def _verify_local(self, policy: str, creator: Identity) -> None:
        """Judge what the node's own member decides, whatever the channel says."""
        if creator.msp_id != self._msp_id:
            raise PolicyError(f"it is for identities of {self._msp_id}, this node's member")
        if policy == LOCAL_ADMINS and ADMIN not in creator.roles:
            raise PolicyError(f"it is for admins of {self._msp_id}")


def resource_of(proposal: UnpackedProposal) -> str:
    """The ACL resource that a proposal asks for.

    Raises:
        ProposalRefusal: it calls a contract of the system without naming a function.
    """
    if proposal.chaincode not in SYSTEM_CONTRACTS:
        return PROPOSE
    try:
        function = proposal.args[0].decode("ascii")
    except (IndexError, UnicodeDecodeError) as error:
        raise ProposalRefusal(
            f"{proposal.chaincode} was called without a function; name it in the first argument"
        ) from error
    return f"{proposal.chaincode}/{function}"
