"""``FabricClient``: users, calls and queries with the names and parameters of ``fabric-sdk-py``.

Every call goes through the gateway of the first peer that is named, and the members of all named
peers endorse it, no others.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
from fabric_protos.common import common_pb2, ledger_pb2

from clients.fabric_sdk_py.decoding import Decoded, decode_block, decode_processed_transaction
from clients.fabric_sdk_py.event_hub import ChannelEventHub
from clients.fabric_sdk_py.network_profile import NetworkProfile, Peer, User
from clients.gateway.asynchronous import AsyncContract, AsyncGateway
from clients.gateway.errors import CommitError, EndorseError, ProfileError
from clients.gateway.messages import ProposalDraft, TransactionDraft
from ledger.errors import Refusal
from ledger.transactions.parse import parse_transaction

Argument = str | bytes


class Channel:
    """A channel of the network; what ``new_channel`` and ``get_channel`` give."""

    def __init__(self, client: FabricClient, name: str) -> None:
        self._client = client
        self.name = name

    def newChannelEventHub(self, peer: Peer | str, requestor: User) -> ChannelEventHub:  # noqa: N802
        """Listen at *peer* as *requestor*."""
        network = self._client._gateway(peer, requestor).network(self.name)

        async def height() -> int:
            info = await self._client.query_info(requestor, self.name, [peer])
            return int(info.height)

        return ChannelEventHub(network, height)


class FabricClient:
    """A client of the network that a profile describes; belongs to one event loop.

    Args:
        net_profile: path of the network profile.
    """

    def __init__(self, net_profile: str | Path) -> None:
        self._profile = NetworkProfile.load(Path(net_profile))
        self._channels: dict[str, Channel] = {}
        self._gateways: dict[tuple[str, str, str], AsyncGateway] = {}

    async def __aenter__(self) -> FabricClient:
        """The client itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close all connections."""
        await self.close_grpc_channels()

    async def close_grpc_channels(self) -> None:
        """Close all connections."""
        gateways, self._gateways = list(self._gateways.values()), {}
        for gateway in gateways:
            await gateway.close()

    @property
    def organizations(self) -> Mapping[str, Any]:
        """The organisations of the profile, as they stand there."""
        return dict(self._profile.content.get("organizations", {}))

    @property
    def peers(self) -> Mapping[str, Peer]:
        """The peers of the profile by their names."""
        return {name: self._profile.peer(name) for name in self._profile.content.get("peers", {})}

    def get_net_info(self, *key_path: str) -> Any:
        """A value of the profile, None where there is none."""
        value: Any = self._profile.content
        for key in key_path:
            if not isinstance(value, dict) or key not in value:
                return None
            value = value[key]
        return value

    def get_user(self, org_name: str, name: str) -> User | None:
        """A user of an organisation, None where the profile names none of that name."""
        if self.get_net_info("organizations", org_name, "users", name) is None:
            return None
        return self._profile.user(org_name, name)

    def get_peer(self, name: str) -> Peer | None:
        """A peer, None where the profile names none of that name."""
        return None if self.get_net_info("peers", name) is None else self._profile.peer(name)

    def new_channel(self, name: str) -> Channel:
        """Know a channel; nothing is created on the network."""
        return self._channels.setdefault(name, Channel(self, name))

    def get_channel(self, name: str) -> Channel | None:
        """A channel that is known, by `new_channel` or by the profile."""
        if name not in self._channels and name in self._profile.content.get("channels", {}):
            self.new_channel(name)
        return self._channels.get(name)

    async def chaincode_invoke(
        self,
        requestor: User,
        channel_name: str,
        peers: Sequence[Peer | str],
        args: Sequence[Argument] | None,
        cc_name: str,
        cc_type: object = None,
        fcn: str = "invoke",
        cc_pattern: str | None = None,
        transient_map: Mapping[str, Argument] | None = None,
        wait_for_event: bool = False,
        wait_for_event_timeout: float = 30,
        grpc_broker_unavailable_retry: int = 0,
        grpc_broker_unavailable_retry_delay: float = 3000,
        raise_broker_unavailable: bool = True,
        raise_on_error: bool = True,
        is_init: bool = False,
    ) -> str:
        """Call a function of a contract and have the transaction ordered; gives its result as text.

        Args:
            peers: whose members endorse; the first one's gateway is used.
            cc_type: passed over.
            cc_pattern: with *wait_for_event*: the event that the transaction must have set.
            wait_for_event: wait until it is committed as valid, at most *wait_for_event_timeout*
                seconds. Only then is it acknowledged.
            grpc_broker_unavailable_retry: further attempts while the endorsers are out of reach,
                each after *grpc_broker_unavailable_retry_delay* milliseconds.
            raise_broker_unavailable, raise_on_error: an error is raised in any case.
        Raises:
            EndorseError, SubmitError, CommitStatusError, CommitError: by stage.
            TimeoutError: it was ordered, and not committed in time.
        """
        if is_init:
            raise Refusal("contracts here have no separate initialisation; leave is_init out")
        gateway = self._gateway(self._first(peers), requestor)
        contract = gateway.network(channel_name).contract(cc_name)

        def draft() -> ProposalDraft:
            return contract.new_proposal(
                fcn,
                *(args or ()),
                transient=transient_map,
                endorsing_organisations=self._members(peers),
            )

        endorsed = await _endorsed(
            gateway,
            draft,
            grpc_broker_unavailable_retry,
            grpc_broker_unavailable_retry_delay / 1000,
        )
        request = await gateway.submit(endorsed)
        if wait_for_event:
            async with asyncio.timeout(wait_for_event_timeout):
                status = await gateway.commit_status(request)
            if not status.is_valid:
                raise CommitError(status.tx_id, status.code, status.block_num)
            if cc_pattern is not None:
                _verify_event(endorsed, cc_pattern)
        return endorsed.result.decode("utf-8")

    async def chaincode_query(
        self,
        requestor: User,
        channel_name: str,
        peers: Sequence[Peer | str],
        args: Sequence[Argument] | None,
        cc_name: str,
        cc_type: object = None,
        fcn: str = "query",
        transient_map: Mapping[str, Argument] | None = None,
    ) -> str:
        """Run a query at the first peer's gateway; gives its result as text."""
        contract = self._contract(peers, requestor, channel_name, cc_name)
        result = await contract.evaluate(fcn, *(args or ()), transient=transient_map)
        return result.decode("utf-8")

    async def query_info(
        self,
        requestor: User,
        channel_name: str,
        peers: Sequence[Peer | str],
        decode: bool = True,
    ) -> Any:
        """Height and newest hashes: a ``BlockchainInfo``, or its bytes."""
        raw = await self._query(requestor, channel_name, peers, "GetChainInfo")
        return ledger_pb2.BlockchainInfo.FromString(raw) if decode else raw

    async def query_block(
        self,
        requestor: User,
        channel_name: str,
        peers: Sequence[Peer | str],
        block_number: int | str,
        decode: bool = True,
    ) -> Decoded | bytes:
        """A block by its number: decoded, or its bytes."""
        raw = await self._query(
            requestor, channel_name, peers, "GetBlockByNumber", str(block_number)
        )
        return decode_block(common_pb2.Block.FromString(raw)) if decode else raw

    async def query_block_by_hash(
        self,
        requestor: User,
        channel_name: str,
        peers: Sequence[Peer | str],
        block_hash: bytes,
        decode: bool = True,
    ) -> Decoded | bytes:
        """A block by the hash of its header, 32 bytes."""
        raw = await self._query(requestor, channel_name, peers, "GetBlockByHash", block_hash)
        return decode_block(common_pb2.Block.FromString(raw)) if decode else raw

    async def query_block_by_txid(
        self,
        requestor: User,
        channel_name: str,
        peers: Sequence[Peer | str],
        tx_id: str,
        decode: bool = True,
    ) -> Decoded | bytes:
        """The block in which a transaction stands."""
        raw = await self._query(requestor, channel_name, peers, "GetBlockByTxID", tx_id)
        return decode_block(common_pb2.Block.FromString(raw)) if decode else raw

    async def query_transaction(
        self,
        requestor: User,
        channel_name: str,
        peers: Sequence[Peer | str],
        tx_id: str,
        decode: bool = True,
    ) -> Decoded | bytes:
        """A transaction and its validation code."""
        raw = await self._query(requestor, channel_name, peers, "GetTransactionByID", tx_id)
        return decode_processed_transaction(raw) if decode else raw

    async def _query(
        self,
        requestor: User,
        channel_name: str,
        peers: Sequence[Peer | str],
        function: str,
        *arguments: Argument,
    ) -> bytes:
        contract = self._contract(peers, requestor, channel_name, "qscc")
        return await contract.evaluate(function, channel_name, *arguments)

    def _contract(
        self, peers: Sequence[Peer | str], requestor: User, channel_name: str, name: str
    ) -> AsyncContract:
        gateway = self._gateway(self._first(peers), requestor)
        return gateway.network(channel_name).contract(name)

    def _gateway(self, peer: Peer | str, requestor: User) -> AsyncGateway:
        found = self._profile.peer(peer) if isinstance(peer, str) else peer
        key = (found.endpoint.address, requestor.org, requestor.name)
        if key not in self._gateways:
            self._gateways[key] = AsyncGateway(found.endpoint, requestor.signer)
        return self._gateways[key]

    def _first(self, peers: Sequence[Peer | str]) -> Peer | str:
        if not peers:
            raise ProfileError("no peer is named; name at least one of the profile's")
        return peers[0]

    def _members(self, peers: Sequence[Peer | str]) -> list[str]:
        found = [self._profile.peer(each) if isinstance(each, str) else each for each in peers]
        return list(dict.fromkeys(peer.msp_id for peer in found))


Client = FabricClient
"""The name it has in ``fabric-sdk-py``."""


async def _endorsed(
    gateway: AsyncGateway, draft: Any, further_attempts: int, delay_s: float
) -> TransactionDraft:
    for attempt in range(further_attempts + 1):
        try:
            return await gateway.endorse(draft())
        except EndorseError as error:
            is_away = error.code is grpc.StatusCode.UNAVAILABLE
            if not is_away or attempt == further_attempts:
                raise
        await asyncio.sleep(delay_s)
    raise AssertionError("the last attempt returns or raises")


def _verify_event(endorsed: TransactionDraft, pattern: str) -> None:
    envelope = common_pb2.Envelope(payload=endorsed.payload).SerializeToString()
    event = parse_transaction(envelope).event
    name = event.event_name if event else ""
    if not re.match(pattern, name):
        raise Refusal(
            f"transaction {endorsed.tx_id} is committed, but set "
            f"{f'the event {name}' if name else 'no event'} where {pattern} was expected"
        )
