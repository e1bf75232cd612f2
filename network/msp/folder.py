"""An MSP folder, Fabric's layout, as the MSPConfig message that a channel configuration holds.

    cacerts/ intermediatecerts/ admincerts/ crls/ tlscacerts/ tlsintermediatecerts/ config.yaml

Only public files are read; keystore/ is `SigningIdentity.load`'s. What the message says is judged
when an MSP is set up from it, not here.

Source: Fabric msp/configbuilder.go (`GetVerifyingMspConfig`, `getMspConfig`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from fabric_protos.msp import msp_config_pb2

from network.errors import ConfigurationError, IdentityError
from network.msp.certificate import MAX_PEM_BYTES, Certificate
from network.msp.config_yaml import Node, parse_config_yaml
from network.msp.der import decode_pem

MAX_FILE_BYTES: Final = 4 * 1024 * 1024
"""A revocation list may be long; nothing else in the folder is."""

_UNIT_FIELDS: Final = {
    "ClientOUIdentifier": "client_ou_identifier",
    "PeerOUIdentifier": "peer_ou_identifier",
    "AdminOUIdentifier": "admin_ou_identifier",
    "OrdererOUIdentifier": "orderer_ou_identifier",
}


def load_msp_folder(folder: Path, msp_id: str) -> Any:
    """Read an MSP folder.

    Args:
        folder: of an organisation, or of one of its identities.
        msp_id: the name of the MSP, which the folder does not say.
    Returns:
        an MSPConfig message.
    Raises:
        ConfigurationError: a file cannot be read, is not what it should be, or there is no
            root certificate.
    """
    roots = _certificates(folder / "cacerts")
    if not roots:
        raise ConfigurationError(
            f"{folder}/cacerts has no certificate: put the member's root authority there"
        )
    config = msp_config_pb2.FabricMSPConfig(
        name=msp_id,
        root_certs=roots,
        intermediate_certs=_certificates(folder / "intermediatecerts"),
        admins=_certificates(folder / "admincerts"),
        revocation_list=[_read(path) for path in _files(folder / "crls")],
        tls_root_certs=_certificates(folder / "tlscacerts"),
        tls_intermediate_certs=_certificates(folder / "tlsintermediatecerts"),
        crypto_config=msp_config_pb2.FabricCryptoConfig(
            signature_hash_family="SHA2", identity_identifier_hash_function="SHA256"
        ),
    )
    path = folder / "config.yaml"
    if path.exists():
        _read_units(parse_config_yaml(_read(path), str(path)), folder, config)
    return msp_config_pb2.MSPConfig(type=0, config=config.SerializeToString(deterministic=True))


def _files(folder: Path) -> list[Path]:
    if not folder.exists():
        return []
    try:
        return sorted(
            path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")
        )
    except OSError as reason:
        raise ConfigurationError(f"{folder} cannot be read: {reason.strerror}") from reason


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigurationError(
                f"{path} is longer than {MAX_FILE_BYTES} bytes: that is no file of an MSP"
            )
        return path.read_bytes()
    except OSError as reason:
        raise ConfigurationError(f"{path} cannot be read: {reason.strerror}") from reason


def _certificates(folder: Path) -> list[bytes]:
    return [_certificate(path) for path in _files(folder)]


def _certificate(path: Path) -> bytes:
    raw = _read(path)
    try:
        decode_pem(raw[: MAX_PEM_BYTES + 1])
        Certificate.from_pem(raw)
    except (ValueError, IdentityError) as reason:
        raise ConfigurationError(
            f"{path} holds no certificate in PEM ({reason}): take the file out, or replace it"
        ) from reason
    return raw


def _read_units(content: dict[str, Node], folder: Path, config: Any) -> None:
    """Put what config.yaml declares into a FabricMSPConfig."""
    place = folder / "config.yaml"
    unknown = sorted(set(content) - {"NodeOUs", "OrganizationalUnitIdentifiers"})
    if unknown:
        raise ConfigurationError(
            f"{place} has the unknown names {unknown}: take them out, or correct them"
        )
    listed = content.get("OrganizationalUnitIdentifiers") or []
    if not isinstance(listed, list):
        raise ConfigurationError(f"{place}: OrganizationalUnitIdentifiers must be a list")
    for entry in listed:
        unit = config.organizational_unit_identifiers.add()
        _fill_unit(unit, entry, folder, "OrganizationalUnitIdentifiers")
    nodes = content.get("NodeOUs")
    if not nodes:
        return
    if not isinstance(nodes, dict):
        raise ConfigurationError(f"{place}: NodeOUs must be a mapping")
    for name, value in nodes.items():
        if name == "Enable":
            config.fabric_node_ous.enable = _truth(value, place)
        elif name in _UNIT_FIELDS:
            unit = getattr(config.fabric_node_ous, _UNIT_FIELDS[name])
            _fill_unit(unit, value, folder, name)
        else:
            raise ConfigurationError(
                f"{place}: NodeOUs has the unknown name {name}: use Enable, "
                f"{', '.join(_UNIT_FIELDS)}"
            )


def _truth(value: Node, place: Path) -> bool:
    if not isinstance(value, str) or value.lower() not in ("true", "false"):
        raise ConfigurationError(f"{place}: Enable is {value!r}: write true or false")
    return value.lower() == "true"


def _fill_unit(unit: Any, entry: Node, folder: Path, name: str) -> None:
    place = folder / "config.yaml"
    if not isinstance(entry, dict) or set(entry) - {"Certificate", "OrganizationalUnitIdentifier"}:
        raise ConfigurationError(
            f"{place}: an entry of {name} must have OrganizationalUnitIdentifier and, if the "
            "authority matters, Certificate, and nothing else"
        )
    identifier, certificate = entry.get("OrganizationalUnitIdentifier"), entry.get("Certificate")
    if not identifier or not isinstance(identifier, str):
        raise ConfigurationError(
            f"{place}: an entry of {name} has no OrganizationalUnitIdentifier: name the unit"
        )
    unit.organizational_unit_identifier = identifier
    unit.SetInParent()
    if isinstance(certificate, str) and certificate:
        path = (folder / certificate).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise ConfigurationError(
                f"{place}: {name} names a certificate outside its folder: name one inside"
            )
        unit.certificate = _certificate(path)
