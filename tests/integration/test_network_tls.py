"""The two ports of a node: versions of TLS, who may connect, renewals and new members."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from network.certificates import Organisation, create_organisation
from network.configuration import ChannelConfiguration, OrganisationSpec, build_genesis
from network.errors import ConfigurationError, IdentityError
from network.tls import (
    OwnTls,
    TlsIdentity,
    client_port_credentials,
    members_tls_authorities,
    node_port_credentials,
)
from tests.support.members import CHANNEL, NOW, Member

DEADLINE_S = 30.0


def _configuration(organisations: list[Organisation]) -> ChannelConfiguration:
    specs = [
        OrganisationSpec(each.msp_id, each.msp_config(), [("localhost", 1)], [("localhost", 1)])
        for each in organisations
    ]
    block = build_genesis(CHANNEL, specs, orderers=[organisations[0].msp_id], when=NOW)
    return ChannelConfiguration.from_block(block)


@dataclass
class Ports:
    """A node of BankMSP that answers who called: the member, or "nobody"."""

    organisations: dict[str, Organisation]
    configuration: ChannelConfiguration
    client: int = 0
    node: int = 0

    def tls_folder(self, msp_id: str) -> Path:
        return self.organisations[msp_id].node_folder("node0") / "tls"

    def identity(self, msp_id: str) -> TlsIdentity:
        return TlsIdentity.load(self.tls_folder(msp_id))

    async def who(self, request: bytes, context: Any) -> bytes:
        found = context.auth_context().get("x509_pem_cert")
        if not found:
            return b"nobody"
        return self.configuration.msps.member_of_tls_certificate(found[0]).encode()

    async def ask(self, port: int, credentials: grpc.ChannelCredentials) -> bytes:
        async with grpc.aio.secure_channel(f"localhost:{port}", credentials) as channel:
            call = channel.unary_unary("/Who/Who", None, None)
            return await call(b"", timeout=DEADLINE_S)


@pytest.fixture
async def ports(tmp_path) -> AsyncIterator[Ports]:
    organisations = {}
    for msp_id in ("BankMSP", "PtaMSP"):
        organisations[msp_id] = create_organisation(tmp_path / msp_id, msp_id)
        organisations[msp_id].add_node("node0")
    made = Ports(organisations, _configuration(list(organisations.values())))
    server = grpc.aio.server()
    methods = {"Who": grpc.unary_unary_rpc_method_handler(made.who)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Who", methods),))
    folder = made.tls_folder("BankMSP")
    made.client = server.add_secure_port("localhost:0", client_port_credentials(folder))
    made.node = server.add_secure_port(
        "localhost:0", node_port_credentials(folder, lambda: made.configuration)
    )
    await server.start()
    try:
        yield made
    finally:
        await server.stop(None)


def _context(ports: Ports, **settings: ssl.TLSVersion) -> ssl.SSLContext:
    authority = ports.organisations["BankMSP"].folder / "tlsca" / "ca-cert.pem"
    context = ssl.create_default_context(cafile=str(authority))
    context.set_alpn_protocols(["h2"])
    # Or this end would refuse old versions by itself, and the test would show nothing.
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    for name, value in settings.items():
        setattr(context, name, value)
    return context


def _handshake(port: int, context: ssl.SSLContext) -> tuple[str, bytes]:
    """Return the version of TLS and the server's certificate; read to hear of a refusal."""
    with (
        socket.create_connection(("localhost", port), timeout=DEADLINE_S) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        secure.recv(1)
        return secure.version() or "", secure.getpeercert(binary_form=True) or b""


async def test_both_ends_that_have_tls_13_speak_it(ports) -> None:
    """On both ports, with OpenSSL at the other end."""
    context = _context(ports)
    folder = ports.tls_folder("PtaMSP")
    context.load_cert_chain(folder / "server.crt", folder / "server.key")
    for port in (ports.client, ports.node):
        version, _ = await asyncio.to_thread(_handshake, port, context)
        assert version == "TLSv1.3"


async def test_client_that_has_only_tls_12_is_served(ports) -> None:
    """Older clients of Fabric have no more."""
    context = _context(ports, maximum_version=ssl.TLSVersion.TLSv1_2)
    version, _ = await asyncio.to_thread(_handshake, ports.client, context)
    assert version == "TLSv1.2"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_tls_11_is_refused(ports) -> None:
    """By the server: the handshake does not come to an end."""
    old = {"minimum_version": ssl.TLSVersion.TLSv1, "maximum_version": ssl.TLSVersion.TLSv1_1}
    for port in (ports.client, ports.node):
        context = _context(ports, **old)
        with pytest.raises((ssl.SSLError, ConnectionError)) as refused:
            await asyncio.to_thread(_handshake, port, context)
        assert "NO_PROTOCOLS_AVAILABLE" not in str(refused.value)


async def test_plain_text_is_not_answered(ports) -> None:
    """There is no port without TLS."""
    async with grpc.aio.insecure_channel(f"localhost:{ports.client}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await channel.unary_unary("/Who/Who", None, None)(b"", timeout=DEADLINE_S)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_clients_show_no_certificate(ports) -> None:
    """The member's TLS authority is all that a client needs."""
    authority = ports.organisations["BankMSP"].folder / "tlsca" / "ca-cert.pem"
    credentials = grpc.ssl_channel_credentials(authority.read_bytes())
    assert await ports.ask(ports.client, credentials) == b"nobody"
    with pytest.raises(grpc.aio.AioRpcError):
        await ports.ask(ports.node, credentials)


@pytest.mark.parametrize("msp_id", ["BankMSP", "PtaMSP"])
async def test_node_port_knows_the_member_that_calls(ports, msp_id) -> None:
    """By the TLS authority of its certificate."""
    tls = ports.identity(msp_id).to_orderer(ports.configuration)
    assert await ports.ask(ports.node, tls.credentials) == msp_id.encode()
    assert tls.certificate_der == ports.identity(msp_id).certificate_der


async def test_certificate_of_no_member_does_not_connect(ports) -> None:
    """Nor does one that names itself like a member's."""
    roots = [members_tls_authorities(ports.configuration)]
    for stranger in (Member("NobodyMSP"), Member("PtaMSP")):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await ports.ask(ports.node, stranger.tls_identity().credentials(roots))
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_node_of_another_member_is_not_taken_for_the_one_called(ports) -> None:
    """Whoever calls PtaMSP trusts its authority and no other, so BankMSP's node will not do."""
    tls = ports.identity("PtaMSP").to_member(ports.configuration, "PtaMSP")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await ports.ask(ports.node, tls.credentials)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_renewed_certificate_is_shown_without_a_restart(ports) -> None:
    """New connections get the new one."""
    _, before = await asyncio.to_thread(_handshake, ports.client, _context(ports))
    ports.organisations["BankMSP"].renew("node0")
    _, after = await asyncio.to_thread(_handshake, ports.client, _context(ports))
    assert after == ports.identity("BankMSP").certificate_der
    assert after != before


@pytest.mark.parametrize("damage", ["missing", "unreadable", "of another key"])
async def test_damaged_certificate_leaves_the_old_one_in_use(ports, damage) -> None:
    """An open port stays open while files are being replaced."""
    _, before = await asyncio.to_thread(_handshake, ports.client, _context(ports))
    place = ports.tls_folder("BankMSP") / "server.crt"
    if damage == "missing":
        place.unlink()
    elif damage == "unreadable":
        place.write_bytes(b"nonsense")
    else:
        place.write_bytes((ports.tls_folder("PtaMSP") / "server.crt").read_bytes())
    _, after = await asyncio.to_thread(_handshake, ports.client, _context(ports))
    assert after == before


async def test_new_member_connects_as_soon_as_its_configuration_is_there(ports, tmp_path) -> None:
    """The members' authorities follow the channel's configuration."""
    maker = create_organisation(tmp_path / "MakerMSP", "MakerMSP")
    maker.add_node("node0")
    tls = TlsIdentity.load(maker.node_folder("node0") / "tls").to_orderer(ports.configuration)
    with pytest.raises(grpc.aio.AioRpcError):
        await ports.ask(ports.node, tls.credentials)
    ports.configuration = _configuration([*ports.organisations.values(), maker])
    assert await ports.ask(ports.node, tls.credentials) == b"MakerMSP"


def test_tls_folder_that_is_no_use_is_refused(tmp_path) -> None:
    """At the start of a node, with the file and the way out."""
    bank = create_organisation(tmp_path / "bank", "BankMSP")
    folder = bank.add_node("node0") / "tls"
    other = bank.add_node("node1") / "tls"
    with pytest.raises(ConfigurationError, match=r"server\.crt cannot be read"):
        client_port_credentials(tmp_path)
    (folder / "server.key").write_bytes((other / "server.key").read_bytes())
    with pytest.raises(ConfigurationError, match="is not the certificate's"):
        client_port_credentials(folder)
    (folder / "server.key").unlink()
    with pytest.raises(ConfigurationError, match=r"server\.key cannot be read"):
        TlsIdentity.load(folder)
    (other / "server.crt").write_bytes(b"nonsense")
    with pytest.raises(ConfigurationError, match="not in PEM"):
        TlsIdentity.load(other)


def test_member_without_tls_authority_is_named(tmp_path) -> None:
    """Nobody could reach its node."""
    bank = Member("BankMSP")
    spec = OrganisationSpec("BankMSP", bank.msp_config(tls_root_certs=None), [("h", 1)], [("h", 1)])
    block = build_genesis(CHANNEL, [spec], orderers=["BankMSP"], when=NOW)
    configuration = ChannelConfiguration.from_block(block)
    with pytest.raises(ConfigurationError, match="no member of channel qist names a TLS authority"):
        members_tls_authorities(configuration)
    with pytest.raises(ConfigurationError, match="BankMSP names no TLS authority"):
        bank.tls_identity().to_orderer(configuration)
    with pytest.raises(IdentityError, match="PtaMSP is not defined"):
        bank.tls_identity().to_member(configuration, "PtaMSP")


def test_member_without_tls_authority_shuts_no_other_out(tmp_path) -> None:
    """A configuration that lets one in leaves the others' connections as they are."""
    bank, pta = Member("BankMSP"), Member("PtaMSP")
    specs = [
        bank.spec(orders=True),
        OrganisationSpec("PtaMSP", pta.msp_config(tls_root_certs=None), [("localhost", 9)]),
    ]
    block = build_genesis(CHANNEL, specs, orderers=["BankMSP"], when=NOW)
    configuration = ChannelConfiguration.from_block(block)
    assert members_tls_authorities(configuration) == bank.tls.pem


def test_own_certificate_is_read_again_when_it_was_replaced(tmp_path) -> None:
    """Files that do not fit, as between the two writes of a renewal, leave the old one in use."""
    bank = create_organisation(tmp_path / "org", "BankMSP")
    folder = bank.add_node("node0") / "tls"
    own = OwnTls(folder)
    first = own.identity
    assert own.identity is first
    other = bank.add_node("node1") / "tls"
    key = (folder / "server.key").read_bytes()
    (folder / "server.key").write_bytes((other / "server.key").read_bytes())
    assert own.identity is first
    (folder / "server.key").unlink()
    assert own.identity is first
    (folder / "server.key").write_bytes(key)
    bank.renew("node0")
    assert own.identity.certificate_der != first.certificate_der
    assert own.identity.key_pem == first.key_pem
