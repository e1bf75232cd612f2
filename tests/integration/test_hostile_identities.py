"""Hostile client: certificates that are no member's, not a client's, revoked or expired.

Each at every RPC that looks at who asks, through gRPC over TLS. Fabric judges expiry at proposals,
Broadcast and Deliver alone, and so do we.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID
from fabric_protos.peer import events_pb2

from clients.gateway.messages import seek_envelope
from clients.gateway.ports import Signer
from network.certificates import Organisation
from network.certificates.authority import Authority, identity_subject
from network.certificates.key_pairs import make_key
from network.msp import Certificate, SigningIdentity
from network.msp.identity import load_private_key, serialize_identity
from tests.support.hostile import Doors, Ending, Hostile, hostile_network
from tests.support.hostile_requests import (
    BANK,
    ENVELOPES,
    FORBIDDEN,
    PROPOSALS,
    PTA,
    REFUSING,
    REQUESTS,
    Impostor,
)
from tests.support.local_network import CHANNEL, DEADLINE_S
from tests.support.members import Member, certificate_pem

pytestmark = pytest.mark.asyncio(loop_scope="module")

FOUNDED = datetime.now(UTC) - timedelta(days=10)
Code = grpc.StatusCode


def prepare(organisation: Organisation) -> None:
    """Issue what the genesis block shall know as revoked, and what has expired by now."""
    organisation.add_user("revoked", attributes={"qist.role": "lending"})
    organisation.revoke("revoked")
    organisation.add_user("expired", attributes={"qist.role": "lending"}, identity_days=1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hostile(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hostile]:
    folder = tmp_path_factory.mktemp("network")
    async with hostile_network(folder, prepare=prepare, founded=FOUNDED) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def doors(hostile: Hostile) -> AsyncIterator[Doors]:
    async with Doors.of(hostile) as made:
        yield made


def folder_of(hostile: Hostile, msp_id: str = BANK) -> Path:
    return hostile.network.members[msp_id].organisation.folder


def user(hostile: Hostile, name: str) -> Signer:
    return SigningIdentity.load(folder_of(hostile) / "users" / name / "msp", BANK)


def authority(hostile: Hostile) -> Authority:
    folder = folder_of(hostile) / "ca"
    certificate = Certificate.from_pem((folder / "ca-cert.pem").read_bytes())
    key: Any = load_private_key((folder / "ca-key.pem").read_bytes(), "the authority's key")
    return Authority(certificate.x509, key)


def with_units(*units: str) -> Callable[[Hostile], Signer]:
    """Have the bank's own authority issue a certificate with these organisational units."""

    def make(hostile: Hostile) -> Signer:
        key = make_key("P-256")
        subject = x509.Name(
            [
                *(x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit) for unit in units),
                x509.NameAttribute(NameOID.COMMON_NAME, "odd"),
            ]
        )
        issued = authority(hostile).issue_identity(
            subject, key.public_key(), {}, 30, datetime.now(UTC)
        )
        return SigningIdentity(BANK, issued, key)

    return make


def itself_authority(hostile: Hostile) -> Signer:
    own = authority(hostile)
    return Impostor(serialize_identity(BANK, own.pem), own.key)


def another_authority(_hostile: Hostile) -> Signer:
    stranger = Member(BANK).root
    return Impostor(serialize_identity(BANK, stranger.pem), stranger.key)


def self_signed(_hostile: Hostile) -> Signer:
    key = make_key("P-256")
    name = identity_subject(BANK, "client", "nobody")
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=9))
        .sign(key, hashes.SHA256())
    )
    return Impostor(serialize_identity(BANK, certificate_pem(made)), key)


def of_another_member(hostile: Hostile) -> Signer:
    pta = hostile.network.signer(PTA)
    key = load_private_key(
        (folder_of(hostile, PTA) / "users" / "lending" / "msp" / "keystore" / "key.pem")
        .read_bytes(),
        "the key",
    )  # fmt: skip
    return Impostor(serialize_identity(BANK, pta.certificate.pem), key)


def wrapped(change: Callable[[bytes], bytes]) -> Callable[[Hostile], Signer]:
    """An honest client, with its PEM changed."""

    def make(hostile: Hostile) -> Signer:
        honest = hostile.network.signer(BANK)
        return Impostor(serialize_identity(BANK, change(honest.certificate.pem)))

    return make


NOT_CHAINED = "signed by no authority of this MSP: use one that the member's own authority"
AUTHORITY = "an authority's, which cannot be an identity: use one that it has issued"
ONE_UNIT = "must have exactly one of ['admin', 'client', 'orderer', 'peer']: have one issued"
KINDS: dict[str, tuple[Callable[[Hostile], Signer], str]] = {
    "unknown member": (lambda _: Member("NobodyMSP").identity(), "NobodyMSP"),
    "unknown authority": (lambda _: Member(BANK).identity(), NOT_CHAINED),
    "self-signed": (self_signed, NOT_CHAINED),
    "authority that signed itself": (another_authority, AUTHORITY),
    "another member's authority": (of_another_member, NOT_CHAINED),
    "the authority itself": (itself_authority, AUTHORITY),
    "unknown unit": (with_units("auditors"), ONE_UNIT),
    "no unit": (with_units(), ONE_UNIT),
    "two units": (with_units("client", "peer"), ONE_UNIT),
    "revoked": (lambda hostile: user(hostile, "revoked"), "revoked"),
    "no PEM": (wrapped(lambda pem: b"not a certificate"), "PEM"),
    "PEM of another type": (
        wrapped(lambda pem: pem.replace(b"CERTIFICATE", b"PUBLIC KEY")),
        "send one block CERTIFICATE and nothing else",
    ),
    "PEM with a second block": (
        wrapped(lambda pem: pem + pem),
        "send one block CERTIFICATE and nothing else",
    ),
    "PEM of no certificate": (
        wrapped(lambda pem: b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        "send an X.509 certificate in PEM",
    ),
    "empty": (lambda _: Impostor(serialize_identity(BANK, b"")), "PEM"),
    "no identity": (lambda _: Impostor(b"\xff\xff"), "send the bytes of one"),
}


def verify_forbidden(rpc: str, ending: Ending, words: str) -> None:
    """Check for Fabric's code of a caller who may not, and for the reason."""
    assert words in ending.words
    if rpc == "Evaluate":
        assert ending.code is Code.FAILED_PRECONDITION
    elif rpc == "Endorse":
        assert ending.code is Code.ABORTED
        assert ending.words.startswith("failed to endorse transaction, see attached details")
    elif rpc == "ProcessProposal":
        assert ending.code is Code.UNKNOWN
    elif rpc == "Submit":
        assert ending.code is Code.ABORTED
        assert "status=FORBIDDEN, info=permission denied" in ending.words
    elif rpc in REQUESTS:
        assert ending.code is Code.PERMISSION_DENIED
        assert f"access denied for [gateway/{rpc}][{CHANNEL}]" in ending.words
    else:
        assert (ending.code, ending.status) == (Code.OK, FORBIDDEN)
    if rpc in PROPOSALS:
        assert f"access denied: channel [{CHANNEL}] creator org unknown" in ending.words


@pytest.mark.parametrize("rpc", REFUSING)
@pytest.mark.parametrize("kind", KINDS)
async def test_identity_that_is_no_members_is_refused_at_every_rpc(
    hostile: Hostile, doors: Doors, kind: str, rpc: str
) -> None:
    """With the code of the RPC, and what is wrong with the certificate."""
    make, words = KINDS[kind]
    verify_forbidden(rpc, await doors.ask(rpc, make(hostile)), words)


@pytest.mark.parametrize("rpc", REFUSING)
async def test_honest_client_is_served_at_every_rpc(
    hostile: Hostile, doors: Doors, rpc: str
) -> None:
    """Or the refusals above would show nothing."""
    if rpc == "ChaincodeEvents":
        call = doors.open(rpc, doors.request(rpc, hostile.network.signer(BANK)))
        async with asyncio.timeout(DEADLINE_S):
            assert await call.read()
        call.cancel()
        return
    ending = await doors.ask(rpc, hostile.network.signer(BANK))
    assert ending.code is Code.OK, ending
    assert ending.status in (0, 200)


@pytest.mark.parametrize("rpc", [*PROPOSALS, *ENVELOPES])
async def test_node_in_a_clients_place_is_refused_where_writers_alone_are_let_in(
    hostile: Hostile, doors: Doors, rpc: str
) -> None:
    """A peer's certificate is a member's; Writers are clients and admins, and the orderers' own
    nodes.
    """
    ending = await doors.ask(rpc, hostile.network.node_signer(PTA))
    assert (ending.code, ending.status) == {
        "Evaluate": (Code.FAILED_PRECONDITION, 0),
        "Endorse": (Code.ABORTED, 0),
        "ProcessProposal": (Code.UNKNOWN, 0),
        "Submit": (Code.ABORTED, 0),
        "Broadcast": (Code.OK, FORBIDDEN),
    }[rpc]
    assert "sub-policies were satisfied" in ending.words
    assert "have more members sign" in ending.words
    if rpc in PROPOSALS:
        assert f"access denied for [peer/Propose] on channel [{CHANNEL}]" in ending.words


@pytest.mark.parametrize("rpc", [each for each in REFUSING if each not in REQUESTS])
async def test_expired_certificate_is_refused_where_fabric_looks_at_the_time(
    hostile: Hostile, doors: Doors, rpc: str
) -> None:
    """At proposals, Broadcast and Deliver; the words say how to go on."""
    ending = await doors.ask(rpc, user(hostile, "expired"))
    assert "expired" in ending.words
    if rpc in PROPOSALS:
        assert "proposal client identity expired" in ending.words
        assert "enroll it again" in ending.words
    else:
        assert "have the certificate renewed by the member's CA" in ending.words
    assert (ending.code, ending.status) == {
        "Evaluate": (Code.FAILED_PRECONDITION, 0),
        "Endorse": (Code.ABORTED, 0),
        "ProcessProposal": (Code.UNKNOWN, 0),
        "Submit": (Code.ABORTED, 0),
        "Broadcast": (Code.OK, 400),
    }.get(rpc, (Code.OK, FORBIDDEN))


async def test_deliver_ends_at_the_block_after_the_callers_certificate_has_expired(
    tmp_path: Path,
) -> None:
    """Expiry is looked at before each block; what came before it stays delivered."""
    async with (
        hostile_network(tmp_path, rehearsal=True) as rehearsal,
        Doors.of(rehearsal) as doors,
    ):
        network = rehearsal.network
        node = network.node(BANK)
        organisation = network.members[PTA].organisation
        short = organisation.add_user("short", identity_days=1)
        signer = SigningIdentity.load(short / "msp", PTA)
        height = network.node(BANK).channel.height
        call = doors.open("Deliver")
        async with asyncio.timeout(DEADLINE_S):
            asked = seek_envelope(signer, CHANNEL, height - 1, now=node.clock.now())
            await call.write(asked.SerializeToString())
            first = events_pb2.DeliverResponse.FromString(await call.read())
            assert first.block.header.number == height - 1
            late = signer.not_after + timedelta(seconds=1)
            network.set_clock(late)
            envelope = doors.envelope(network.signer(BANK), now=late)
            assert await doors.ordered(envelope) == ["VALID"]
            last = events_pb2.DeliverResponse.FromString(await call.read())
        assert (last.WhichOneof("Type"), last.status) == ("status", FORBIDDEN)
        assert "have the certificate renewed" in rehearsal.log.last("request for blocks ends")
        rehearsal.clock = node.clock.now  # for the honest clients of the closing checks
