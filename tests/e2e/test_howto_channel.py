"""Changing a running channel by the commands of its pages: a fifth member, new authorities, CRLs.

Both pages are run on one network of real node processes; what they promise is looked at afterwards.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from typer.main import get_command

from clients.cli import channel
from clients.gateway.blocking import Gateway
from clients.gateway.connection import Endpoint
from clients.gateway.errors import GatewayError
from clients.gateway.profile import load_profile
from ledger.blocks.metadata import codes_of
from ledger.channel import ChannelLedger
from ledger.transactions.codes import TxValidationCode
from ledger.transactions.parse import parse_transaction
from network.msp import SigningIdentity
from tests.support.howto_pages import HOWTO, run_page
from tests.support.ports import free_base
from tests.support.processes import (
    network_down_at_the_end,
    process_of,
    qist,
    stopped_at_the_end,
    wait_for,
)

MEMBERS = ("BankMSP", "OperatorMSP", "MakerMSP", "PtaMSP")
OTHERS = MEMBERS[1:]
CHANGE, ROTATE = "change-the-channel.md", "rotate-and-revoke.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder in which both pages have been run, with what was valid between them kept aside."""
    place = tmp_path_factory.mktemp("channel")
    base = free_base()
    with ExitStack() as ends:
        ends.enter_context(network_down_at_the_end(place / "consortium"))
        ends.enter_context(stopped_at_the_end(place / "naya-node"))
        assert run_page(CHANGE, place, base) >= 12
        shutil.copytree(place / "consortium/BankMSP/org", place / "before")
        assert run_page(ROTATE, place, base) >= 8
        yield place


def network_of(folder: Path) -> Path:
    return folder / "consortium"


def endpoint(folder: Path, msp_id: str) -> Endpoint:
    """The gateway of a member, as its own profile names it."""
    return load_profile(network_of(folder) / msp_id / "connection.json").endpoints()[0]


def refusal(folder: Path, msp_id: str, signer: SigningIdentity) -> str:
    """What a member's node says to *signer* when it asks for the members; empty if it answers."""
    with Gateway(endpoint(folder, msp_id), signer) as gateway:
        try:
            gateway.network("qist").contract("enforcement").evaluate("Members")
        except GatewayError as error:
            return str(error)
    return ""


def test_no_other_members_node_was_ever_restarted(folder: Path) -> None:
    """Adding, removing, rotating, revoking: whoever is not concerned notices nothing."""
    for msp_id in OTHERS:
        node = network_of(folder) / msp_id / "node"
        log = (node / "node.log").read_text("utf-8")
        assert log.count("serves clients on") == 1, msp_id
        assert process_of(node) > 0


def test_retired_authoritys_certificates_are_refused_by_every_node(folder: Path) -> None:
    """The admin's certificate of before the rotation, with its key, opens no door."""
    old = SigningIdentity.load(folder / "before/users/admin/msp", "BankMSP")
    new = SigningIdentity.load(network_of(folder) / "BankMSP/org/users/admin/msp", "BankMSP")
    for msp_id in MEMBERS:
        assert "signed by no authority" in refusal(folder, msp_id, old), msp_id
        assert refusal(folder, msp_id, new) == "", msp_id


def test_revoked_certificate_is_refused_by_every_node(folder: Path) -> None:
    """At once, wherever it is shown."""
    users = network_of(folder) / "BankMSP/org/users"
    revoked = SigningIdentity.load(users / "lending/msp", "BankMSP")
    for msp_id in MEMBERS:
        assert "has been revoked" in refusal(folder, msp_id, revoked), msp_id


def test_removed_members_users_are_refused_by_every_node(folder: Path) -> None:
    """Nobody of a member that has gone is let in."""
    naya = SigningIdentity.load(folder / "naya/users/auditor/msp", "NayaMSP")
    for msp_id in MEMBERS:
        assert refusal(folder, msp_id, naya), msp_id


def test_nodes_agree_and_their_ledgers_are_clean(folder: Path) -> None:
    """Equal heights and hashes, clean ledgers, and in them what the fifth member has endorsed."""
    network = network_of(folder)

    def settled() -> bool:
        nodes = qist("network", "status", network, "--json").json["nodes"]
        ends = {(each["height"], each["header_hash"], each["commit_hash"]) for each in nodes}
        return len(ends) == 1 and all(each["ready"] for each in nodes)

    wait_for(settled, "equal heights and hashes")
    assert qist("network", "down", network).code == 0
    checked = qist("fsck", network, "--json")
    assert checked.code == 0, checked.out
    assert qist("fsck", folder / "naya-node").code == 0
    endorsers, configurations = [], 0
    ledger = ChannelLedger.open(network / "PtaMSP/node/ledger")
    try:
        for block in ledger.blocks():
            for raw, code in zip(block.data, codes_of(block), strict=True):
                transaction = parse_transaction(raw)
                configurations += transaction.header_type == 1
                if code is TxValidationCode.VALID and b"NayaMSP" in raw:
                    endorsers.append(transaction.index_id)
    finally:
        ledger.close()
    # Genesis, batch, edited, one more, one less; rotation, retirement, revocation.
    assert configurations == 8
    assert endorsers, "the fifth member's node has endorsed a valid transaction"


def test_page_names_every_option_of_propose() -> None:
    """What can be changed by an option stands in the table, and nothing else does."""
    table = (HOWTO / CHANGE).read_text("utf-8").split("## What can be changed")[1].split("JSON;")[0]
    told = set(re.findall(r"`(--[a-z-]+)", table))
    propose = get_command(channel.app).commands["propose"]  # type: ignore[attr-defined]
    offered = {name for parameter in propose.params for name in parameter.opts}
    common = {"--out", "--from", "--block", "--profile", "--user", "--channel", "--at", "--time"}
    assert told == offered - common - {"--json"}
