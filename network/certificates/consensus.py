"""A node's keys for consensus: made, certified, replaced, and read where the node runs.

    consensus/key.pem      votes: Ed25519, 0600           consensus/cert.pem      over it
    consensus/p2p-key.pem  shown on links: Ed25519, 0600  consensus/p2p-cert.pem  over it
    consensus/next-…       of these two files, while a key is being replaced

The folder lies beside `msp` and `tls`, in ORG/nodes/NAME and in the folder of the node. The voting
key's certificate is issued by the authority of identities with a unit that gives no role, so that
the key endorses nothing; the other one by the TLS authority.

A key is replaced in three steps: the next one is made beside it (`rotate_consensus`), the members
put its certificate into the channel, and then it takes the first one's place (`retire_consensus`).
A node uses whichever of the two the configuration names, so it changes its key at the height at
which the others expect it, and restarts in between do no harm.

Certificates last as long as their authority, and nobody looks at their end: what counts is what
stands in the channel's configuration.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519

from network.certificates.authority import identity_subject
from network.certificates.key_pairs import encode_key
from network.certificates.organisation import Organisation
from network.certificates.stored import load_certificate, read_file
from network.certificates.writing import (
    PRIVATE_FOLDER,
    move_file,
    new_folder,
    remove_file,
    write_new,
)
from network.errors import CertificateError, ConfigurationError
from network.msp.identity import load_private_key

__all__ = [
    "CERTIFICATE",
    "CONSENSUS_FOLDER",
    "KEY",
    "LINK_CERTIFICATE",
    "LINK_KEY",
    "NEXT",
    "PUBLIC_FILES",
    "UNIT",
    "ConsensusKeys",
    "add_consensus",
    "consensus_keys",
    "is_over",
    "load_key",
    "public_bytes",
    "retire_consensus",
    "rotate_consensus",
]

CONSENSUS_FOLDER: Final = "consensus"
KEY: Final = "key.pem"
CERTIFICATE: Final = "cert.pem"
LINK_KEY: Final = "p2p-key.pem"
LINK_CERTIFICATE: Final = "p2p-cert.pem"
NEXT: Final = "next-"
"""Before the names of files that are to take the place of others."""

PUBLIC_FILES: Final = (CERTIFICATE, LINK_CERTIFICATE)
"""What the other members get."""

UNIT: Final = "consensus"
"""Organisational unit of a consensus certificate; it gives no role."""


@dataclass(frozen=True, slots=True)
class ConsensusKeys:
    """The private keys in a node's folder.

    Attributes:
        voting: the key with which the node votes; a second one while it is being replaced.
        links: the key that it shows on its links; a second one while it is being replaced.
    """

    voting: tuple[ed25519.Ed25519PrivateKey, ...]
    links: tuple[ed25519.Ed25519PrivateKey, ...]

    def voting_key(self, public_key: bytes) -> ed25519.Ed25519PrivateKey | None:
        """Return the voting key whose public half is *public_key* (32 bytes); None if none is."""
        return _named(self.voting, public_key)

    def link_key(self, public_key: bytes) -> ed25519.Ed25519PrivateKey | None:
        """Return the links' key whose public half is *public_key* (32 bytes); None if none is."""
        return _named(self.links, public_key)


def _named(
    keys: tuple[ed25519.Ed25519PrivateKey, ...], public_key: bytes
) -> ed25519.Ed25519PrivateKey | None:
    for key in keys:
        if public_bytes(key) == public_key:
            return key
    return None


def public_bytes(key: ed25519.Ed25519PrivateKey) -> bytes:
    """Return the 32 bytes of a key's public half."""
    return key.public_key().public_bytes_raw()


def consensus_keys(folder: Path) -> ConsensusKeys:
    """Read the consensus keys in the folder of a node, or of a node in an organisation's folder.

    Args:
        folder: it holds the folder ``consensus``.
    Raises:
        CertificateError: a key is missing or is none; the message says which.
    """
    place = folder / CONSENSUS_FOLDER
    if not place.is_dir():
        raise CertificateError(
            f"{folder} has no consensus keys: have them made with `qist org add-consensus NAME`, "
            f"and give them to the node with `qist node consensus {folder} --from ORG/nodes/NAME`"
        )
    return ConsensusKeys(_load_both(place, KEY), _load_both(place, LINK_KEY))


def _load_both(place: Path, name: str) -> tuple[ed25519.Ed25519PrivateKey, ...]:
    first = load_key(place / name)
    if not (place / f"{NEXT}{name}").exists():
        return (first,)
    return (first, load_key(place / f"{NEXT}{name}"))


def load_key(where: Path) -> ed25519.Ed25519PrivateKey:
    """Read one key.

    Raises:
        CertificateError: it is missing, or no Ed25519 key.
    """
    try:
        key = load_private_key(read_file(where), str(where))
    except ConfigurationError as reason:
        raise CertificateError(str(reason)) from reason
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise CertificateError(f"{where} is no Ed25519 key: put the right one back")
    return key


def is_over(certificate: Path, key: ed25519.Ed25519PrivateKey) -> bool:
    """Tell whether the certificate in a file is over a key.

    Raises:
        CertificateError: the file holds none.
    """
    return load_certificate(certificate).public_key() == key.public_key()


def add_consensus(organisation: Organisation, name: str) -> Path:
    """Make the consensus keys of a node that has certificates already; return their folder.

    Raises:
        CertificateError: there is no such node, or it has consensus keys already.
    """
    node = _node_folder(organisation, name)
    place = node / CONSENSUS_FOLDER
    if place.exists():
        raise CertificateError(
            f"{name} of {organisation.msp_id} has consensus keys in {place}: another voting key is "
            f"made with `qist org rotate-consensus {name}`"
        )
    voting, link = ed25519.Ed25519PrivateKey.generate(), ed25519.Ed25519PrivateKey.generate()
    with new_folder(place) as made:
        write_new(made / CERTIFICATE, _certify(organisation, name, voting))
        write_new(made / LINK_CERTIFICATE, _certify_link(organisation, name, link))
        write_new(made / KEY, encode_key(voting), private=True)
        write_new(made / LINK_KEY, encode_key(link), private=True)
    place.chmod(PRIVATE_FOLDER)
    return place


def rotate_consensus(organisation: Organisation, name: str, *, link: bool = False) -> Path:
    """Make the next key of a node beside the one that it has; return its certificate's path.

    Args:
        organisation: of the node.
        name: of the node.
        link: whether it is the key of its links, and not the one of its votes.
    Raises:
        CertificateError: there is no such node, it has no consensus keys, or a next one already.
    """
    node = _node_folder(organisation, name)
    keys = consensus_keys(node)
    place = node / CONSENSUS_FOLDER
    key_file, certificate_file = (LINK_KEY, LINK_CERTIFICATE) if link else (KEY, CERTIFICATE)
    _finish(place, certificate_file, (keys.links if link else keys.voting)[0])
    coming = place / f"{NEXT}{certificate_file}"
    if (place / f"{NEXT}{key_file}").exists():
        raise CertificateError(
            f"{name} of {organisation.msp_id} has its next key in {place} already: have the "
            f"channel take {coming.name} over, and then `qist org retire-consensus {name}`"
        )
    key = ed25519.Ed25519PrivateKey.generate()
    certify = _certify_link if link else _certify
    # One without its key was left by a crash just below, and nobody has been given it.
    remove_file(coming)
    write_new(coming, certify(organisation, name, key))
    write_new(place / f"{NEXT}{key_file}", encode_key(key), private=True)
    return coming


def retire_consensus(organisation: Organisation, name: str, *, voting: bytes, link: bytes) -> Path:
    """Put the next keys into the places of the first ones, which are destroyed.

    Args:
        organisation: of the node.
        name: of the node.
        voting: the public key (32 bytes) of its votes in the channel's configuration in force.
        link: the one of its links there.
    Returns:
        the folder of the keys.
    Raises:
        CertificateError: there is no such node or no next key, or the channel has another one.
    """
    node = _node_folder(organisation, name)
    keys = consensus_keys(node)
    place = node / CONSENSUS_FOLDER
    finished = [
        _finish(place, CERTIFICATE, keys.voting[0]),
        _finish(place, LINK_CERTIFICATE, keys.links[0]),
    ]
    coming = [
        (own[1], named, files)
        for own, named, files in (
            (keys.voting, voting, (KEY, CERTIFICATE)),
            (keys.links, link, (LINK_KEY, LINK_CERTIFICATE)),
        )
        if len(own) > 1
    ]
    if not coming and not any(finished):
        raise CertificateError(
            f"{name} of {organisation.msp_id} has no next key: make one with "
            f"`qist org rotate-consensus {name}`"
        )
    for key, named, (_, certificate_file) in coming:
        if public_bytes(key) != named:
            coming_file = place / f"{NEXT}{certificate_file}"
            raise CertificateError(
                f"the channel has another key of {organisation.msp_id} than the next one of {name}:"
                f" have it take {coming_file} over first, or the node could not take part"
            )
    for _, _, files in coming:
        for file in files:
            move_file(place / f"{NEXT}{file}", place / file)
    return place


def _finish(place: Path, certificate_file: str, first: ed25519.Ed25519PrivateKey) -> bool:
    """Finish a retirement that was broken off after the key had moved; tell whether one was."""
    coming = place / f"{NEXT}{certificate_file}"
    if not coming.exists() or not is_over(coming, first):
        return False
    move_file(coming, place / certificate_file)
    return True


def _node_folder(organisation: Organisation, name: str) -> Path:
    folder = organisation.node_folder(name)
    if not (folder / "tls" / "server.crt").is_file():
        raise CertificateError(
            f"{organisation.msp_id} has no node {name[:80]!r}: look into "
            f"{organisation.folder / 'nodes'}, or make it with `qist org add-node`"
        )
    return folder


def _certify(organisation: Organisation, name: str, key: ed25519.Ed25519PrivateKey) -> bytes:
    subject = identity_subject(organisation.msp_id, UNIT, name)
    days = organisation.validity.authority_days
    return organisation.issue_identity(subject, key.public_key(), {}, days)


def _certify_link(organisation: Organisation, name: str, key: ed25519.Ed25519PrivateKey) -> bytes:
    tls = load_certificate(organisation.node_folder(name) / "tls" / "server.crt")
    names = tls.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    hosts = [str(each.value) for each in names]
    days = organisation.validity.authority_days
    return organisation.issue_tls(name, key.public_key(), hosts, days)
