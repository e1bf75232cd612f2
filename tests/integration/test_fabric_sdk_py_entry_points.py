"""Programs written for ``fabric-sdk-py`` against real nodes, by the entry points they know."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from clients.fabric_sdk_py.client import Client
from clients.fabric_sdk_py.network_profile import User
from clients.gateway.errors import CommitError, EvaluateError, ProfileError
from ledger.errors import Refusal
from tests.support.counter import Counter
from tests.support.local_network import LocalNetwork, local_network

PEERS = ["peer0.bank", "peer0.pta"]
TWO = ("BankMSP", "PtaMSP")


def write_profile(network: LocalNetwork) -> Path:
    """A network profile in the form of ``fabric-sdk-py``: no schemes, base64, paths."""
    organisations, peers = {}, {}
    for msp_id in TWO:
        member = network.members[msp_id]
        network.signer(msp_id, "Admin")
        users = member.organisation.user_folder("Admin") / "msp"
        key = (users / "keystore/key.pem").read_bytes()
        name = msp_id.removesuffix("MSP").lower()
        peer = f"peer0.{name}"
        organisations[name] = {
            "mspid": msp_id,
            "peers": [peer],
            "users": {
                "Admin": {
                    "cert": str(users / "signcerts/cert.pem"),
                    "private_key": {"pem": base64.b64encode(key).decode()},
                }
            },
        }
        peers[peer] = {
            "url": f"127.0.0.1:{member.client_port}",
            "grpcOptions": {"grpc.ssl_target_name_override": "localhost"},
            "tlsCACerts": {"path": f"{msp_id}/org/tlsca/ca-cert.pem"},
        }
    content = {"organizations": organisations, "peers": peers, "channels": {"qist": {}}}
    path = network.folder / "network.json"
    path.write_text(json.dumps(content))
    return path


class Program:
    """What a program for ``fabric-sdk-py`` keeps at hand: client, user, channel."""

    def __init__(self, client: Client, user: User) -> None:
        self.client = client
        self.user = user

    async def invoke(self, *args: str, **options: Any) -> str:
        """Add to a counter."""
        return await self.client.chaincode_invoke(
            requestor=self.user,
            channel_name="qist",
            peers=options.pop("peers", PEERS),
            args=list(args),
            cc_name="counter",
            fcn=options.pop("fcn", "Add"),
            **options,
        )

    async def query(self, method: str, *args: Any, **options: Any) -> Any:
        """One of the queries about the chain."""
        return await getattr(self.client, method)(self.user, "qist", PEERS[:1], *args, **options)


async def use_contract(program: Program) -> None:
    """Invoke and query by the known names; errors are raised, never returned as a result."""
    assert await program.invoke("k", "1", wait_for_event=True) == "1"
    answer = await program.client.chaincode_query(
        program.user, "qist", PEERS[:1], ["k"], "counter", fcn="Get"
    )
    assert answer == "1"
    with pytest.raises(EvaluateError):
        await program.client.chaincode_query(program.user, "qist", PEERS[:1], [], "counter")
    with pytest.raises(CommitError, match="ENDORSEMENT_POLICY_FAILURE"):
        await program.invoke("k", "1", peers=PEERS[:1], wait_for_event=True)
    with pytest.raises(Refusal, match="is_init"):
        await program.invoke("k", "1", is_init=True)
    with pytest.raises(Refusal, match="was expected"):
        await program.invoke("k", "1", wait_for_event=True, cc_pattern="^never$")


async def look_at_chain(program: Program) -> None:
    """Blocks and transactions come as the known dictionaries, or as bytes."""
    info = await program.query("query_info")
    newest = await program.query("query_block", info.height - 1)
    assert newest["header"]["number"] == info.height - 1
    assert newest["metadata"]["metadata"][2] == [0]
    (envelope,) = newest["data"]["data"]
    header = envelope["payload"]["header"]
    assert header["channel_header"]["type_string"] == "ENDORSER_TRANSACTION"
    assert header["signature_header"]["creator"]["mspid"] == "BankMSP"
    tx_id = header["channel_header"]["tx_id"]
    action = envelope["payload"]["data"]["actions"][0]["payload"]["action"]
    endorsers = {each["endorser"]["mspid"] for each in action["endorsements"]}
    assert endorsers == set(TWO)
    extension = action["proposal_response_payload"]["extension"]
    writes = [
        write
        for space in extension["results"]["ns_rwset"]
        if space["namespace"] == "counter"
        for write in space["rwset"]["writes"]
    ]
    assert writes[0]["key"] == "k"
    assert await program.query("query_block_by_txid", tx_id) == newest
    assert await program.query("query_block_by_hash", info.currentBlockHash) == newest
    found = await program.query("query_transaction", tx_id)
    assert found["validation_code"] == 0
    assert found["transaction_envelope"] == envelope
    assert isinstance(await program.query("query_block", 0, decode=False), bytes)
    genesis = await program.query("query_block", "0")
    assert genesis["data"]["data"][0]["payload"]["header"]["channel_header"]["type"] == 1


async def listen(program: Program, filtered: bool) -> None:
    """Callbacks hear blocks, transactions and contract events of a range that ends by itself."""
    channel = program.client.get_channel("qist")
    peer = program.client.get_peer(PEERS[0])
    assert channel is not None
    assert peer is not None
    heard: dict[str, list[Any]] = {"blocks": [], "transactions": [], "events": []}
    hub = channel.newChannelEventHub(peer, program.user)
    hub.registerBlockEvent(start=0, stop="newest", onEvent=heard["blocks"].append)
    hub.registerTxEvent("all", onEvent=lambda *seen: heard["transactions"].append(seen))
    hub.registerChaincodeEvent(
        "counter", "^Add", onEvent=lambda *seen: heard["events"].append(seen)
    )
    await hub.connect(filtered=filtered)
    height = (await program.query("query_info")).height
    assert len(heard["blocks"]) == height
    codes = [code for _, code, _ in heard["transactions"]]
    assert len(codes) == height
    assert "ENDORSEMENT_POLICY_FAILURE" in codes
    valid = [event for event, _, _, code in heard["events"] if code == "VALID"]
    assert [event["event_name"] for event in valid] == ["Added", "Added"]
    assert all(("payload" in event) is not filtered for event in valid)
    assert not hub.connected


async def test_program_for_fabric_sdk_py_runs_with_another_import(tmp_path: Path) -> None:
    """Profile, users, invoke, query, blocks, events: a program moves over by its import."""
    async with local_network(
        tmp_path, [Counter()], members=TWO, policy="AND('BankMSP.peer', 'PtaMSP.peer')"
    ) as network:
        async with Client(net_profile=write_profile(network)) as client:
            user = client.get_user("bank", "Admin")
            assert user is not None
            assert client.get_user("bank", "Nobody") is None
            assert client.get_peer("peer9") is None
            assert set(client.organizations) == {"bank", "pta"}
            assert client.get_net_info("organizations", "pta", "mspid") == "PtaMSP"
            program = Program(client, user)
            await use_contract(program)
            await look_at_chain(program)
            await listen(program, filtered=True)
            await listen(program, filtered=False)
            with pytest.raises(ProfileError, match=r"peers\.peer9"):
                await program.invoke("k", "1", peers=["peer9"])
        await network.verify()
