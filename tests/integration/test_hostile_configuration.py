"""A member that changes its own part of the channel's configuration against the others.

Its own admin's signature is all it takes for its group, so nothing that stands there may reach the
other members: not their nodes' certificates, not the bundle of authorities that every node trusts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID
from fabric_protos.msp import msp_config_pb2
from fabric_protos.peer import configuration_pb2 as peer_pb2

from clients.gateway.errors import EndorseError
from network.certificates.authority import Authority
from network.configuration import edits
from network.errors import OrderingRefusal
from network.msp.der import _element, decode_pem, encode_pem, read_element
from nodes.gateway.members import MemberRefused, MemberUnavailable
from tests.support.hostile import Hostile, hostile_network
from tests.support.local_network import CHANNEL, LocalNetwork
from tests.support.updates import Edit, signed_update

pytestmark = pytest.mark.asyncio(loop_scope="module")

BANK, LIAR, PTA = "BankMSP", "MakerMSP", "PtaMSP"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hostile(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hostile]:
    folder = tmp_path_factory.mktemp("network")
    async with hostile_network(folder, members=(BANK, LIAR, PTA)) as made:
        yield made


def own_msp(change: Callable[[Any], None]) -> Edit:
    """An edit of the liar's own MSP."""

    def edit(config: Any) -> None:
        group = config.channel_group.groups["Application"].groups[LIAR]
        msp = msp_config_pb2.MSPConfig.FromString(group.values["MSP"].value)
        fabric = msp_config_pb2.FabricMSPConfig.FromString(msp.config)
        change(fabric)
        msp.config = fabric.SerializeToString()
        group.values["MSP"].value = msp.SerializeToString()

    return edit


def update(network: LocalNetwork, edit: Edit) -> bytes:
    return signed_update(
        network.node(LIAR).channel.configuration, edit, [network.signer(LIAR, "admin")]
    )


def authority(network: LocalNetwork, msp_id: str) -> bytes:
    return (network.members[msp_id].organisation.folder / "tlsca" / "ca-cert.pem").read_bytes()


def cross_certified(network: LocalNetwork, msp_id: str) -> bytes:
    """Another member's TLS authority, certified by the liar's own: same name, same key."""
    theirs = x509.load_pem_x509_certificate(authority(network, msp_id))
    folder = network.members[LIAR].organisation.folder / "tlsca"
    own = x509.load_pem_x509_certificate((folder / "ca-cert.pem").read_bytes())
    key = serialization.load_pem_private_key((folder / "ca-key.pem").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    builder = x509.CertificateBuilder(
        own.subject, theirs.subject, theirs.public_key(), x509.random_serial_number(),
        theirs.not_valid_before_utc, own.not_valid_after_utc, list(theirs.extensions),
    )  # fmt: skip
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize(
    ("name", "made"),
    [("tls_root_certs", authority), ("tls_intermediate_certs", cross_certified)],
    ids=["copied", "certified anew"],
)
@pytest.mark.parametrize("victim", [BANK, PTA])
async def test_member_that_claims_anothers_tls_authority_is_refused(
    hostile: Hostile, name: str, made: Callable[[LocalNetwork, str], bytes], victim: str
) -> None:
    """The other one's nodes would belong to two members, and be served by nobody."""
    network = hostile.network

    def claim(fabric: Any) -> None:
        getattr(fabric, name).append(made(network, victim))

    words = f"the TLS authority .* would belong to .*{victim}.* and their nodes could not be told"
    with pytest.raises(OrderingRefusal, match=words):
        await network.node(LIAR).engine.submit(update(network, own_msp(claim)))


@pytest.mark.parametrize(
    "behind",
    [
        b"-----BEGIN CERTIFICATE-----\nMIIB",
        b"-----BEGIN CERTIFICATE-----\nbm8gY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----\n",
        b"\x00\xff",
    ],
    ids=["a block without an end", "a block of no certificate", "bytes"],
)
async def test_bytes_behind_a_members_tls_authority_hide_nobody_elses(
    hostile: Hostile, behind: bytes
) -> None:
    """Every node trusts one bundle of all authorities; the last member in it still connects."""
    network = hostile.network
    own = Authority.make_root(LIAR, "another", "P-256", 365, datetime.now(UTC))
    sequence = network.node(LIAR).channel.configuration.sequence

    def hide(fabric: Any) -> None:
        fabric.tls_root_certs.append(own.pem + behind)

    await network.node(LIAR).engine.submit(update(network, own_msp(hide)))
    for each in network.running:
        await each.channel.wait_for_configuration(sequence)
    await network.stop(PTA)
    await network.start(PTA)
    await hostile.serves()


def of_version_one() -> bytes:
    """An authority whose certificate says version 1 and has extensions all the same."""
    made = Authority.make_root(LIAR, "another", "P-256", 365, datetime.now(UTC))
    _, der, _ = decode_pem(made.pem)
    start, _ = read_element(der, 0, 0x30)
    content, end = read_element(der, start, 0x30)
    _, version_end = read_element(der, content, 0xA0)
    _, algorithm_end = read_element(der, end, 0x30)
    signed = _element(0x30, der[version_end:end])
    signature = made.key.sign(signed, ec.ECDSA(hashes.SHA256()))
    value = _element(0x03, b"\x00" + signature)
    return encode_pem("CERTIFICATE", _element(0x30, signed + der[end:algorithm_end] + value))


def named_by_a_time() -> bytes:
    """An authority in whose name a time stands where a text should."""
    key = ec.generate_private_key(ec.SECP256R1())
    odd = x509.NameAttribute(
        NameOID.COMMON_NAME, "251125000000Z", _type=_ASN1Type.UTCTime, _validate=False
    )
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(
        x509.Name([odd]), x509.Name([odd]), key.public_key(), 7, now, now + timedelta(days=365)
    ).add_extension(x509.BasicConstraints(True, None), True)
    builder = builder.add_extension(
        x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize("made", [of_version_one, named_by_a_time])
@pytest.mark.parametrize("name", ["tls_root_certs", "tls_intermediate_certs", "root_certs"])
async def test_authority_that_tls_cannot_load_is_refused(
    hostile: Hostile, name: str, made: Callable[[], bytes]
) -> None:
    """In the bundle of a node port it would take those behind it along, or the port itself."""
    network = hostile.network

    def add(fabric: Any) -> None:
        getattr(fabric, name).append(made())

    with pytest.raises(OrderingRefusal, match=LIAR):
        await network.node(LIAR).engine.submit(update(network, own_msp(add)))


@pytest.mark.parametrize("host", ["unix://{folder}/socket", "unix:{folder}/socket", "[::", "\x00"])
async def test_address_that_is_none_of_the_network_is_not_connected_to(
    hostile: Hostile, tmp_path: Path, host: str
) -> None:
    """A member says where its node is, and nodes of others reach no socket of their own machine."""
    network = hostile.network
    connected: list[object] = []

    async def accept(_reader: object, writer: asyncio.StreamWriter) -> None:
        connected.append(writer)
        writer.close()

    # The number of the port stands behind the path.
    server = await asyncio.start_unix_server(accept, tmp_path / "socket:1")
    node = network.node(LIAR)
    group = node.channel.configuration.config.channel_group.groups["Application"].groups[LIAR]
    before = bytes(group.values["AnchorPeers"].value)
    told = peer_pb2.AnchorPeers(
        anchor_peers=[peer_pb2.AnchorPeer(host=host.format(folder=tmp_path), port=1)]
    )
    try:
        for raw in (told.SerializeToString(), before):
            sequence = node.channel.configuration.sequence

            def move(config: Any, raw: bytes = raw) -> None:
                members = config.channel_group.groups["Application"].groups
                members[LIAR].values["AnchorPeers"].value = raw

            await node.engine.submit(update(network, move))
            for each in network.running:
                await each.channel.wait_for_configuration(sequence)
            bank = network.node(BANK)
            if raw != before:
                with pytest.raises((MemberUnavailable, MemberRefused)):
                    await bank._members.others()[LIAR].ask("/qist.PrivateData/Pull", b"", 5.0)
            await hostile.serves()
    finally:
        server.close()
    assert connected == []


async def test_first_definitions_without_approvals_can_be_closed_by_an_access_rule(
    hostile: Hostile,
) -> None:
    """What one client may begin, the majority of admins never signs together: approvals remain."""
    network, resource = hostile.network, "_lifecycle/CommitChaincodeDefinitions"
    current = network.node(LIAR).channel.configuration
    admins = [network.signer(msp_id, "admin") for msp_id in network.members]

    def close(config: Any) -> None:
        edits.set_acl(config, resource, "/Channel/Application/Admins")

    await network.node(LIAR).engine.submit(signed_update(current, close, admins))
    for each in network.running:
        await each.channel.wait_for_configuration(current.sequence)
    async with network.gateway(LIAR, "admin") as gateway:
        lifecycle = gateway.network(CHANNEL).contract("_lifecycle")
        with pytest.raises(EndorseError, match=rf"access denied for \[{resource}\]"):
            await lifecycle.submit("CommitChaincodeDefinitions", b"")
