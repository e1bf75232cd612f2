"""Collects the endorsements that a transaction needs, and no more.

With organisations named by the client: one endorsement of each; all are asked, so that the client
reads the words of every one that refuses. Otherwise the node simulates itself, learns from the
writes which policies count (`nodes.endorser.interest`), and completes the smallest layout of
members that meets them all, those that answer first; a member that fails is replaced by another
layout (Fabric internal/pkg/gateway/endorse.go, with policies read by the node instead of asked of a
discovery service).

Transient data goes to this member's own node, to the organisations that the client named, and to
members of all the private collections that the transaction touches; to nobody else. (Where no
collection is touched, Fabric's gateway shows it to anybody; here the client must name them.) Who is
no member of a collection whose plain data the transaction reads is not asked: it could not endorse.

Where results differ because one node is a block ahead, the one behind waits for that block and
both simulate again; a difference at the same height is final.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
from fabric_protos.common import common_pb2
from fabric_protos.peer import (
    policy_pb2,
    proposal_pb2,
    proposal_response_pb2,
    transaction_pb2,
)
from google.protobuf.message import DecodeError

from ledger.errors import LedgerError
from network.configuration import ChannelConfiguration
from network.errors import IdentityError, PolicyError
from network.msp import split_identity
from nodes.endorser.endorser import ERROR, ERROR_THRESHOLD, Endorsed, Endorser, Simulated
from nodes.endorser.interest import Interest
from nodes.endorser.proposals import UnpackedProposal
from nodes.gateway.disclosure import verify_answer, verify_simulated
from nodes.gateway.layouts import (
    FirstLayouts,
    LayoutRefusal,
    Requirement,
    requirement_of_policy,
    requirement_of_signature_policy,
)
from nodes.gateway.members import Member, MemberBusy, MemberRefused, Members, MemberUnavailable
from nodes.rpc.failures import DO_NOT_MATCH, Detail, RpcFailure

log = logging.getLogger(__name__)

ENDORSE_FAILED = "failed to endorse transaction, see attached details for more info"
COLLECT_FAILED = (
    "failed to collect enough transaction endorsements, see attached details for more info"
)
_ROUNDS = 3
_REQUIREMENTS = 4096


@dataclass(slots=True)
class _Collection:
    """Endorsements gathered for one proposal, all over the same payload; *others* can be asked."""

    proposal: UnpackedProposal
    signed: Any
    others: Mapping[str, Member]
    payload: bytes = b""
    height: int = 0
    endorsements: dict[str, tuple[bytes, bytes]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    details: list[Detail] = field(default_factory=list)
    busy: list[int] = field(default_factory=list)

    def lacks(self, member: Member, words: str) -> None:
        """Note that a member gives no endorsement, and what it said."""
        self.failed[member.msp_id] = words
        self.details.append(Detail(member.address, member.msp_id, words))

    def too_few(self) -> RpcFailure:
        """The failure for endorsements that are missing.

        Where nobody refused, and those that are missing only were too busy, the client may try
        again; Fabric's gateway says ABORTED here, too.
        """
        if self.busy and len(self.busy) == len(self.details):
            return RpcFailure(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                COLLECT_FAILED,
                self.details,
                nothing_done=True,
                again_ms=max(self.busy),
            )
        return RpcFailure(grpc.StatusCode.ABORTED, COLLECT_FAILED, self.details)


class Endorsing:
    """Collects endorsements for the gateway of one node.

    Args:
        endorser: this node's own.
        members: the others.
        address: under which this node appears in error details.
        timeout_s: for one endorsement.
    """

    def __init__(
        self, endorser: Endorser, members: Members, address: str, timeout_s: float
    ) -> None:
        self._endorser = endorser
        self._members = members
        self._address = address
        self._timeout_s = timeout_s
        self._layouts = FirstLayouts()
        self._requirements: dict[tuple[ChannelConfiguration, bytes, bool], Requirement] = {}

    async def prepare(
        self, proposal: UnpackedProposal, signed: Any, organisations: Sequence[str]
    ) -> Any:
        """Return the unsigned transaction, endorsed as far as needed, as ``common.Envelope``.

        Raises:
            RpcFailure: with Fabric's code and words, and a detail for each node that refused.
        """
        collection = _Collection(proposal, signed, self._members.others())
        if organisations:
            await self._collect_from(collection, organisations)
        else:
            await self._collect_enough(collection)
        return _envelope(collection)

    async def _collect_from(self, collection: _Collection, organisations: Sequence[str]) -> None:
        others, own = collection.others, self._endorser.msp_id
        missing = [each for each in organisations if each != own and each not in others]
        if missing:
            raise RpcFailure(
                grpc.StatusCode.UNAVAILABLE,
                f"failed to find any endorsing peers for org(s): {', '.join(missing)}; name "
                "members whose nodes the channel configuration names",
            )
        asked = list(dict.fromkeys(organisations))
        if own in asked:
            try:
                await self._endorse_here(collection, with_interest=False)
            except RpcFailure as failure:
                if not failure.details:
                    raise
                collection.details.extend(failure.details)
        answered = await self._ask(collection, [each for each in asked if each != own])
        if not answered or collection.details:
            raise collection.too_few()
        if own not in asked and self._endorser.is_query(collection.proposal):
            verify_answer(collection.payload)

    async def _collect_enough(self, collection: _Collection) -> None:
        simulated = await self._endorse_here(collection, with_interest=True)
        interest = simulated.interest
        requirements = self._requirements_of(interest)
        endorsers = self._askable(collection, interest)
        tried = False
        while True:
            layout = self._best_layout(requirements, endorsers, collection)
            if layout is None:
                break
            tried = True
            lacking = [each for each in layout if each not in collection.endorsements]
            if await self._ask(collection, lacking):
                for each in list(collection.endorsements):
                    if each not in layout:
                        del collection.endorsements[each]
                return
        if collection.proposal.transient and not tried:
            raise self._transient_refused(interest)
        if not tried:
            raise RpcFailure(
                grpc.StatusCode.FAILED_PRECONDITION,
                "no combination of peers can be derived which satisfy the endorsement policy; "
                "members without an anchor peer in the channel configuration cannot be asked",
            )
        raise collection.too_few()

    def _askable(self, collection: _Collection, interest: Interest | None) -> list[str]:
        """The members that can endorse, and that may see the transient data if there are any."""
        own = self._endorser.msp_id
        others = list(collection.others)
        readers = None if interest is None else interest.readers
        if readers is not None:
            others = [each for each in others if each in readers]
        if collection.proposal.transient:
            trusted = None if interest is None else interest.trusted
            others = [each for each in others if trusted is not None and each in trusted]
        return [own, *others]

    def _transient_refused(self, interest: Interest | None) -> RpcFailure:
        collections = [] if interest is None else [name for _, name in interest.collections]
        if collections:
            return RpcFailure(
                grpc.StatusCode.FAILED_PRECONDITION,
                "requires endorsement from organisation(s) that are not in the distribution policy "
                f"of the private data collection(s): [{' '.join(collections)}]; retry specifying "
                "trusted endorsing organizations to protect transient data",
            )
        return RpcFailure(
            grpc.StatusCode.FAILED_PRECONDITION,
            "the transaction carries transient data and needs endorsements of more members than "
            f"{self._endorser.msp_id}; retry specifying endorsing organization(s) to protect "
            "transient data",
        )

    def _best_layout(
        self, requirements: Sequence[Requirement], endorsers: Sequence[str], state: _Collection
    ) -> tuple[str, ...] | None:
        """The first layout without members that failed; with none that is down, if possible."""
        others, own = state.others, self._endorser.msp_id
        usable = [each for each in endorsers if each not in state.failed]
        up = [each for each in usable if each not in others or others[each].is_up]
        rotation = int(state.proposal.tx_id[:8], 16)
        for candidates in (up, usable):
            found = self._layouts.find(requirements, candidates, own, rotation)
            if found is not None:
                return found
        return None

    async def _endorse_here(self, collection: _Collection, *, with_interest: bool) -> Simulated:
        """Simulate and sign on this node; a refusal ends the call."""
        try:
            simulated = await self._endorser.simulate(
                collection.proposal, with_interest=with_interest, height=collection.height
            )
        except LedgerError as error:
            raise self._refused_here(str(error)) from error
        result = simulated.result
        if result.status >= ERROR_THRESHOLD:
            words = describe_response(result.status, result.message, bool(simulated.payload))
            raise self._refused_here(words)
        verify_simulated(simulated)
        try:
            self._keep(collection, await self._endorser.endorse(simulated))
        except LedgerError as error:
            raise self._refused_here(str(error)) from error
        return simulated

    def _keep(self, collection: _Collection, endorsed: Endorsed) -> None:
        collection.payload = endorsed.simulated.payload
        collection.height = endorsed.simulated.height
        collection.endorsements = {self._endorser.msp_id: (endorsed.endorser, endorsed.signature)}

    def _refused_here(self, words: str) -> RpcFailure:
        detail = Detail(self._address, self._endorser.msp_id, words)
        return RpcFailure(grpc.StatusCode.ABORTED, ENDORSE_FAILED, [detail])

    async def _ask(self, collection: _Collection, msp_ids: Sequence[str]) -> bool:
        """Ask members at once; True if all gave the same payload as is there already."""
        asked = [collection.others[each] for each in msp_ids if each in collection.others]
        for attempt in range(_ROUNDS):
            answers = await asyncio.gather(
                *(self._ask_one(collection, each, attempt > 0) for each in asked)
            )
            heights = [answer[1] for answer in answers if answer is not None]
            if len(heights) < len(asked):
                return False
            if not self._differing(collection, asked, answers):
                return True
            ahead = max([collection.height, *heights])
            behind = min([collection.height or ahead, *heights])
            if ahead == behind or not behind or attempt == _ROUNDS - 1:
                break
            collection.height = ahead
            if self._endorser.msp_id in collection.endorsements:
                await self._endorse_here(collection, with_interest=False)
            else:
                collection.payload = b""
        for member in self._differing(collection, asked, answers):
            self._fail(collection, member, DO_NOT_MATCH)
        return False

    def _differing(
        self, collection: _Collection, asked: Sequence[Member], answers: Sequence[Any]
    ) -> list[Member]:
        """Keep the endorsements over the common payload; return the members with another."""
        differing = []
        for member, answer in zip(asked, answers, strict=True):
            response = answer[0]
            if not collection.payload and _is_answer(response.payload, collection.proposal):
                collection.payload = response.payload
            endorsement = response.endorsement
            agrees = bool(collection.payload) and response.payload == collection.payload
            if not agrees or not _is_of(member, endorsement):
                differing.append(member)
                continue
            collection.endorsements[member.msp_id] = (endorsement.endorser, endorsement.signature)
        return differing

    async def _ask_one(
        self, collection: _Collection, member: Member, again: bool
    ) -> tuple[Any, int] | None:
        asked_for = collection.height if again else 0
        try:
            response, height = await member.process_proposal(
                collection.signed, self._timeout_s, asked_for
            )
            if not _is_endorsed(response) and asked_for == 0 < height < collection.height:
                # It is behind, and refuses for what it has not seen yet.
                response, height = await member.process_proposal(
                    collection.signed, self._timeout_s, collection.height
                )
        except MemberBusy as busy:
            # Under overload there are many of them, of which the log of that node tells.
            collection.busy.append(busy.again_ms)
            collection.lacks(member, str(busy))
            return None
        except (MemberUnavailable, MemberRefused) as error:
            self._fail(collection, member, str(error))
            return None
        if not _is_endorsed(response):
            told = response.response
            words = describe_response(told.status, told.message, bool(response.payload))
            self._fail(collection, member, words)
            return None
        return response, height

    def _fail(self, collection: _Collection, member: Member, words: str) -> None:
        collection.lacks(member, words)
        log.warning(
            "endorsement by %s failed: %s", member.msp_id, words,
            extra={"tx_id": collection.proposal.tx_id},
        )  # fmt: skip

    def _requirements_of(self, interest: Interest | None) -> list[Requirement]:
        if interest is None:
            return []
        try:
            return [
                *(self._requirement(raw, key=False) for raw in interest.application_policies),
                *(self._requirement(raw, key=True) for raw in interest.key_policies),
            ]
        except LayoutRefusal as error:
            raise RpcFailure(grpc.StatusCode.FAILED_PRECONDITION, str(error)) from error

    def _requirement(self, raw: bytes, *, key: bool) -> Requirement:
        configuration = self._endorser.channel.configuration
        known = self._requirements.get((configuration, raw, key))
        if known is not None:
            return known
        if key:
            made = requirement_of_signature_policy(raw)
        else:
            made = requirement_of_application_policy(raw, configuration)
        if len(self._requirements) >= _REQUIREMENTS:
            self._requirements.clear()
        self._requirements[configuration, raw, key] = made
        return made


def requirement_of_application_policy(
    raw: bytes, configuration: ChannelConfiguration
) -> Requirement:
    """Read a contract definition's policy as a statement about members.

    Raises:
        LayoutRefusal: it is none.
    """
    try:
        policy = policy_pb2.ApplicationPolicy.FromString(raw)
        if policy.WhichOneof("Type") == "channel_config_policy_reference":
            reference = policy.channel_config_policy_reference
            return requirement_of_policy(configuration.policies.policy(reference))
    except (DecodeError, PolicyError) as error:
        raise LayoutRefusal(f"an endorsement policy cannot be read: {error}") from error
    return requirement_of_signature_policy(policy.signature_policy.SerializeToString())


def _is_endorsed(response: Any) -> bool:
    """Whether a node's answer is an endorsement and no refusal."""
    return (
        200 <= response.response.status < ERROR_THRESHOLD
        and len(response.endorsement.signature) > 0
    )


def _is_answer(payload: bytes, proposal: UnpackedProposal) -> bool:
    """Whether a node's payload says that it answers this very proposal."""
    try:
        answered = proposal_response_pb2.ProposalResponsePayload.FromString(payload)
    except DecodeError:
        return False
    return bool(answered.proposal_hash == proposal.proposal_hash)


def _is_of(member: Member, endorsement: Any) -> bool:
    """Whether an endorsement is in the name of the member that was asked, and of no other."""
    try:
        return split_identity(endorsement.endorser)[0] == member.msp_id
    except IdentityError:
        return False


def describe_response(status: int, message: str, has_payload: bool) -> str:
    """What an error detail says of a response that is no success (Fabric `responseStatus`)."""
    if status == ERROR and not has_payload:
        return message
    return f"chaincode response {status}, {message}"


def _envelope(collection: _Collection) -> Any:
    """Assemble the transaction (Fabric `prepareTransaction`): original header, no transient data,
    endorsements of distinct endorsers.
    """
    proposal = collection.proposal
    action = transaction_pb2.ChaincodeActionPayload()
    action.chaincode_proposal_payload = proposal_pb2.ChaincodeProposalPayload(
        input=proposal.payload_input
    ).SerializeToString()
    action.action.proposal_response_payload = collection.payload
    for endorser, signature in dict(collection.endorsements.values()).items():
        action.action.endorsements.add(endorser=endorser, signature=signature)
    transaction = transaction_pb2.Transaction()
    transaction.actions.add(
        header=proposal.header.signature_header,
        payload=action.SerializeToString(deterministic=True),
    )
    payload = common_pb2.Payload(header=proposal.header, data=transaction.SerializeToString())
    return common_pb2.Envelope(payload=payload.SerializeToString())
