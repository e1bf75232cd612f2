"""The consenters of a channel that CometBFT orders: what each must have, and how they may change.

They stand in the value Orderers of the group Orderer, one for each member that orders, where
Fabric's tools read them: a number, the member, where its consensus process is reached, a
certificate over its consensus key (Ed25519) and one over the key of its links (Ed25519 too).
CometBFT's validators follow from them alone, each with the same weight.

Rules of a configuration, checked whenever one is read:
- one consenter at least, and at most one for each member, which is in the group Orderer;
- numbers above zero, addresses and keys, each of them once; no key serves both purposes.

Rules of a change, checked by the orderer's gate and by every committer:
- the engine changes from solo to cometbft and never back; all consenters come with that change;
- one consenter at most joins, leaves or takes another key, so that any two sets that follow each
  other share all but one; addresses and certificates of links are free;
- a certificate that comes is of its member's own authority.

Neither a certificate's end nor its revocation counts afterwards, nor that its authority retires:
what takes a consenter out is a change that the members agree on, and never one member's own
authorities or the passing of time. Hence nothing here looks at a clock.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.asymmetric import ed25519
from fabric_protos.common import configuration_pb2
from fabric_protos.orderer import configuration_pb2 as orderer_pb2

from network.decoding import decode_message
from network.errors import ConfigurationError, IdentityError
from network.msp import Certificate

if TYPE_CHECKING:
    from network.configuration.channel import ChannelConfiguration, Consenter

__all__ = [
    "COMETBFT",
    "SAFE_CONSENTERS",
    "SOLO",
    "consensus_key",
    "link_key",
    "verify_certificates",
    "verify_consenters",
    "verify_consenters_may_follow",
]

SOLO: Final = "solo"
COMETBFT: Final = "cometbft"

SAFE_CONSENTERS: Final = 4
"""With fewer, no consenter may fail or lie."""

CONSENSUS: Final = "consensus"
LINK: Final = "link"
"""The two kinds of certificate that a consenter has."""

_CAPABILITY = "V3_0"
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")


def consensus_key(consenter: Consenter) -> bytes:
    """Return the 32 bytes of the public key with which a consenter votes.

    Raises:
        ConfigurationError: its certificate cannot be read or has a key of another kind.
    """
    return _key_in(consenter.identity, f"the consensus certificate of {_name(consenter)}")


def link_key(consenter: Consenter) -> bytes:
    """Return the 32 bytes of the public key that a consenter shows on its links.

    Raises:
        ConfigurationError: its certificate cannot be read or has a key of another kind.
    """
    return _key_in(consenter.server_tls_cert, f"the link certificate of {_name(consenter)}")


def _certificates(consenter: Consenter) -> tuple[tuple[str, bytes], tuple[str, bytes]]:
    return (CONSENSUS, consenter.identity), (LINK, consenter.server_tls_cert)


def _name(consenter: Consenter) -> str:
    return f"consenter {consenter.number} of {consenter.msp_id[:80]}"


def _key_in(pem: bytes, what: str) -> bytes:
    try:
        key = Certificate.from_pem(pem).public_key
    except IdentityError as reason:
        raise ConfigurationError(f"{what} cannot be read: {reason}") from reason
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise ConfigurationError(
            f"{what} is over a key that is not Ed25519, the only kind that CometBFT is given here: "
            "have one issued with `qist org add-consensus`"
        )
    return key.public_bytes_raw()


def verify_consenters(configuration: ChannelConfiguration) -> None:
    """Check what a configuration that CometBFT orders by must have; others are not looked at.

    Raises:
        ConfigurationError: it breaks a rule.
    """
    if configuration.consensus_type != COMETBFT:
        return
    _verify_engine(configuration)
    consenters = configuration.consenters
    if not consenters:
        raise ConfigurationError(
            f"channel {configuration.channel_id} is ordered by {COMETBFT} and has no consenter: "
            "name one for each member that orders; the last one cannot leave"
        )
    ordering = set(configuration.orderer_organisations)
    for each in consenters:
        if each.number < 1:
            raise ConfigurationError(f"{_name(each)} has no number: number them from 1")
        if each.msp_id not in ordering:
            raise ConfigurationError(
                f"{_name(each)} is of no member of the group Orderer: take the consenter out with "
                "its member, or put the member into that group first"
            )
        _verify_address(each)
    _refuse_twice((str(each.number) for each in consenters), "the number")
    _refuse_twice((each.msp_id for each in consenters), "the member")
    _refuse_twice((f"{each.host.lower()}:{each.port}" for each in consenters), "the address")
    keys = [key.hex() for each in consenters for key in (consensus_key(each), link_key(each))]
    _refuse_twice(keys, "the public key")


def _verify_engine(configuration: ChannelConfiguration) -> None:
    if _CAPABILITY not in configuration.capabilities.channel:
        raise ConfigurationError(
            f"the engine {COMETBFT} needs the channel capability {_CAPABILITY}, with which Fabric "
            "has consenters and Ed25519 keys: demand it first"
        )
    if configuration.consensus_metadata:
        raise ConfigurationError(
            f"ConsensusType has metadata, and {COMETBFT} has none: what it needs stands in Orderers"
        )
    if configuration.consensus_state != orderer_pb2.ConsensusType.STATE_NORMAL:
        raise ConfigurationError(
            f"ConsensusType.State must be STATE_NORMAL under {COMETBFT}, which knows no maintenance"
        )
    group = configuration.config.channel_group.groups["Orderer"]
    raw = group.values["Orderers"].value if "Orderers" in group.values else b""
    what = "the value /Channel/Orderer/Orderers"
    written = decode_message(configuration_pb2.Orderers, raw, what, ConfigurationError)
    for each in written.consenter_mapping:
        if each.client_tls_cert != each.server_tls_cert:
            raise ConfigurationError(
                f"consenter {each.id} has another certificate as client than as server, and a link "
                "has one key at each end: give the same twice"
            )


def _verify_address(consenter: Consenter) -> None:
    host, port = consenter.host, consenter.port
    if not _HOST.fullmatch(host):
        try:
            # A zone would be of one machine only.
            fits = ipaddress.IPv6Address(host).scope_id is None
        except ValueError:
            fits = False
        if not fits:
            raise ConfigurationError(
                f"{_name(consenter)} is reached at the host {host[:80]!r}, which is neither a name "
                "nor an address: give one, without port"
            )
    if not 1 <= port <= 65535:
        raise ConfigurationError(
            f"{_name(consenter)} is reached at port {port}: give one from 1 to 65535"
        )


def _refuse_twice(found: Iterable[str], what: str) -> None:
    for each, count in Counter(found).items():
        if count > 1:
            raise ConfigurationError(
                f"{count} consenters have {what} {each[:80]}: give every consenter its own"
            )


def verify_certificates(
    configuration: ChannelConfiguration, known: Sequence[Consenter] = ()
) -> None:
    """Check that the consenters' certificates are of their members' own authorities.

    Args:
        configuration: whose consenters they are.
        known: consenters whose certificates have been judged before.
    Raises:
        ConfigurationError: one is not.
    """
    judged = {(each.msp_id, *certificate) for each in known for certificate in _certificates(each)}
    for each in configuration.consenters:
        msp = configuration.msps.msp(each.msp_id)
        for kind, pem in _certificates(each):
            if (each.msp_id, kind, pem) in judged:
                continue
            tls = kind == LINK
            try:
                msp.verify_issued(Certificate.from_pem(pem), tls=tls)
            except IdentityError as reason:
                raise ConfigurationError(
                    f"the {kind} certificate of {_name(each)} is not one of the member's own "
                    f"{'TLS ' if tls else ''}authority: {reason}"
                ) from reason


def verify_consenters_may_follow(
    current: ChannelConfiguration, following: ChannelConfiguration
) -> None:
    """Check the engine and the consenters of *following* against those in force.

    Other engines than solo and cometbft are not looked at, as long as cometbft is not one of them.

    Raises:
        ConfigurationError: the engine may not follow, too much changes at once, or a certificate
            is of another authority.
    """
    engines = current.consensus_type, following.consensus_type
    if COMETBFT not in engines:
        return
    if engines not in ((COMETBFT, COMETBFT), (SOLO, COMETBFT)):
        raise ConfigurationError(
            f"attempted to change consensus type from {engines[0]} to {engines[1]}, transition not "
            f"supported: a channel moves from {SOLO} to {COMETBFT} and stays there"
        )
    if engines[0] == COMETBFT:
        _verify_one_change(current, following)
    verify_certificates(following, current.consenters if engines[0] == COMETBFT else ())


def _verify_one_change(current: ChannelConfiguration, following: ChannelConfiguration) -> None:
    before = {each.msp_id: each for each in current.consenters}
    after = {each.msp_id: each for each in following.consenters}
    changes = [f"{msp_id} joins" for msp_id in sorted(after.keys() - before.keys())]
    changes += [f"{msp_id} leaves" for msp_id in sorted(before.keys() - after.keys())]
    for msp_id in sorted(before.keys() & after.keys()):
        old, new = before[msp_id], after[msp_id]
        if old.number != new.number:
            raise ConfigurationError(
                f"{_name(old)} would get the number {new.number}: a consenter keeps its number"
            )
        if consensus_key(old) != consensus_key(new):
            changes.append(f"{msp_id} takes another key")
    if len(changes) > 1:
        raise ConfigurationError(
            f"{len(changes)} consenters would change by one update ({', '.join(changes[:10])}): "
            "change one, and the next one when that is in force"
        )
