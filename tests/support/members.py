"""Members of a channel in memory: authorities, identities, MSP definitions, a genesis block.

The certificates are those that `network.certificates` issues, without its folders.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from fabric_protos.common import common_pb2
from fabric_protos.msp import msp_config_pb2

from ledger.blocks.block import Block
from ledger.transactions.parse import compute_tx_id
from network.certificates.authority import Authority, identity_subject, tls_subject
from network.certificates.key_pairs import encode_key, make_key
from network.configuration import OrganisationSpec, build_genesis
from network.msp import MSP, Certificate, SigningIdentity
from network.tls import TlsIdentity

NOW = datetime.now(UTC).replace(microsecond=0)
CHANNEL = "qist"
UNITS = ("client", "peer", "admin", "orderer")


@dataclass
class Member:
    """One member: its authorities, and what they issue."""

    msp_id: str
    intermediate: bool = False
    algorithm: str = "P-256"
    root: Authority = field(init=False)
    issuing: Authority = field(init=False)
    tls: Authority = field(init=False)
    revoked: dict[int, datetime] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.root = Authority.make_root(self.msp_id, f"ca.{self.msp_id}", self.algorithm, 3650, NOW)
        self.issuing = self.root
        if self.intermediate:
            self.issuing = self.root.make_intermediate(
                self.msp_id, f"ica.{self.msp_id}", self.algorithm, 3650, NOW
            )
        self.tls = Authority.make_root(self.msp_id, f"tlsca.{self.msp_id}", "P-256", 3650, NOW)

    def identity(
        self,
        name: str = "user",
        unit: str = "client",
        *,
        algorithm: str = "",
        attributes: Mapping[str, str] | None = None,
        days: int = 365,
        now: datetime = NOW,
        authority: Authority | None = None,
    ) -> SigningIdentity:
        """Issue an identity."""
        key = make_key(algorithm or self.algorithm)
        pem = (authority or self.issuing).issue_identity(
            identity_subject(self.msp_id, unit, name), key.public_key(), attributes or {}, days, now
        )
        return SigningIdentity(self.msp_id, pem, key)

    def tls_identity(
        self, name: str = "node", hosts: Sequence[str] = ("localhost",)
    ) -> TlsIdentity:
        """Issue a TLS certificate."""
        key = make_key("P-256")
        pem = self.tls.issue_tls(tls_subject(self.msp_id, name), key.public_key(), hosts, 365, NOW)
        certificate = Certificate.from_pem(pem)
        return TlsIdentity(pem, encode_key(key), certificate.der, certificate.not_after)

    def revoke(self, *identities: SigningIdentity) -> None:
        """Put identities on the list that `msp_config` carries."""
        for each in identities:
            self.revoked[each.certificate.serial_number] = NOW

    def msp_config(self, **changes: Any) -> Any:
        """Return the MSPConfig; *changes* replace fields of the FabricMSPConfig."""
        below = [self.issuing.pem] if self.intermediate else []
        config = msp_config_pb2.FabricMSPConfig(
            name=self.msp_id,
            root_certs=[self.root.pem],
            intermediate_certs=below,
            tls_root_certs=[self.tls.pem],
            fabric_node_ous=node_units(self.issuing.pem),
        )
        if self.revoked:
            config.revocation_list.append(self.issuing.revocation_list(self.revoked, 1, NOW))
        for name, value in changes.items():
            config.ClearField(name)
            if value is not None:
                config.MergeFrom(msp_config_pb2.FabricMSPConfig(**{name: value}))
        return msp_config_pb2.MSPConfig(type=0, config=config.SerializeToString())

    def msp(self, *, ed25519_allowed: bool = False, **changes: Any) -> MSP:
        """Return the MSP set up from `msp_config`."""
        return MSP.from_config(self.msp_config(**changes), ed25519_allowed=ed25519_allowed)

    def spec(self, port: int = 7052, *, orders: bool = False) -> OrganisationSpec:
        """Return the member as `build_genesis` takes it, with its node at localhost:*port*."""
        address = [("localhost", port)]
        return OrganisationSpec(self.msp_id, self.msp_config(), address, address if orders else [])


def node_units(certifier: bytes, units: Sequence[str] = UNITS) -> Any:
    """Return FabricNodeOUs that give the roles named."""
    message = msp_config_pb2.FabricNodeOUs(enable=True)
    for unit in units:
        entry = getattr(message, f"{unit}_ou_identifier")
        entry.certificate = certifier
        entry.organizational_unit_identifier = unit
    return message


def genesis(members: Sequence[Member], *, orderers: Sequence[str] = (), **options: Any) -> Block:
    """Return a genesis block of *members*; the first one orders unless *orderers* differs."""
    ordering = list(orderers) or [members[0].msp_id]
    specs = [member.spec(orders=member.msp_id in ordering) for member in members]
    return build_genesis(CHANNEL, specs, orderers=ordering, when=NOW, **options)


def signed_envelope(
    signer: SigningIdentity,
    data: bytes = b"anything",
    *,
    nonce: bytes = b"twenty-four random bytes",
    channel_id: str = CHANNEL,
    header_type: int = common_pb2.ENDORSER_TRANSACTION,
) -> bytes:
    """Return an envelope as clients send it to an orderer, which does not look at *data*."""
    channel_header = common_pb2.ChannelHeader(
        type=header_type, channel_id=channel_id, tx_id=compute_tx_id(nonce, signer.serialized)
    )
    payload = common_pb2.Payload(data=data)
    payload.header.channel_header = channel_header.SerializeToString()
    payload.header.signature_header = common_pb2.SignatureHeader(
        creator=signer.serialized, nonce=nonce
    ).SerializeToString()
    raw = payload.SerializeToString()
    envelope: bytes = common_pb2.Envelope(
        payload=raw, signature=signer.sign(raw)
    ).SerializeToString()
    return envelope


def certificate_pem(certificate: x509.Certificate) -> bytes:
    """Return PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM)
