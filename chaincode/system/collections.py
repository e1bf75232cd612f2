"""What a definition may say of private collections, and what an upgrade may change of them.

Checked when a definition is approved and again when it is committed, against the channel's members
at that moment. Rules and words: Fabric, core/chaincode/lifecycle/scc.go, from
`validateCollectionConfigs` on.

Absent: what collections mean while a contract runs (`nodes.private_data`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, NoReturn

from fabric_protos.msp import msp_principal_pb2
from fabric_protos.peer import collection_pb2
from google.protobuf.message import DecodeError

from chaincode.errors import ContractRefusal
from chaincode.system.ports import LifecycleChannel
from ledger.errors import Refusal

IMPLICIT_PREFIX: Final = "_implicit_org_"
_COLLECTION: Final = re.compile(r"[A-Za-z0-9-][A-Za-z0-9_-]*")
_SHOWN: Final = 80
_DEEPEST: Final = 64


def implicit_collection(msp_id: str) -> str:
    """Return the collection that every contract has for one organisation alone."""
    return IMPLICIT_PREFIX + msp_id


def verify_collections(what: str, asked: Any, committed: bytes, channel: LifecycleChannel) -> None:
    """Check the collections of a definition that is approved or committed.

    Args:
        what: the definition, for messages.
        asked: `CollectionConfigPackage` of the call.
        committed: the marshalled package of the definition in force; empty without one.
        channel: whose members the collections name.
    Raises:
        ContractRefusal: one of Fabric's rules is broken.
    """
    configs = [_static(what, each) for each in asked.config]
    names: set[str] = set()
    for config in configs:
        shown = config.name[:_SHOWN] if config.name.isprintable() else ""
        if not _COLLECTION.fullmatch(config.name):
            _refuse(
                what,
                f"invalid collection name '{shown}'. Names can only consist of alphanumerics, "
                "'_', and '-' and cannot begin with '_'",
            )
        if config.name in names:
            _refuse(
                what, f"collection-name: {shown} -- found duplicate in collection configuration"
            )
        names.add(config.name)
        _verify_counts(what, config)
        _verify_member_policy(what, config, channel)
    _verify_unchanged(what, configs, committed)


def _static(what: str, config: Any) -> Any:
    if not config.HasField("static_collection_config"):
        _refuse(what, "collection config contains unexpected payload type")
    return config.static_collection_config


def _verify_counts(what: str, config: Any) -> None:
    required, maximum = config.required_peer_count, config.maximum_peer_count
    if maximum < required:
        _refuse(
            what,
            f"collection-name: {config.name} -- maximum peer count ({maximum}) cannot be less than "
            f"the required peer count ({required})",
        )
    if required < 0:
        _refuse(
            what,
            f"collection-name: {config.name} -- requiredPeerCount ({required}) cannot be less than "
            "zero",
        )


def _verify_member_policy(what: str, config: Any, channel: LifecycleChannel) -> None:
    name = config.name
    if not config.HasField("member_orgs_policy"):
        _refuse(what, f"collection member policy is not set for collection '{name}'")
    if not config.member_orgs_policy.HasField("signature_policy"):
        _refuse(what, f"collection member org policy is empty for collection '{name}'")
    envelope = config.member_orgs_policy.signature_policy
    try:
        channel.verify_signature_policy(envelope.SerializeToString())
    except Refusal as error:
        _refuse(what, f"invalid member org policy for collection '{name}': {error}")
    _verify_alternatives(what, name, envelope.rule, 0)
    for principal in envelope.identities:
        _verify_principal(what, name, principal, channel)


def _verify_alternatives(what: str, name: str, rule: Any, depth: int) -> None:
    """Check that a policy consists of OR alone."""
    if depth > _DEEPEST:
        _refuse(what, f"collection-name: {name} -- error in member org policy: nested too deep")
    if not rule.HasField("n_out_of"):
        return
    if rule.n_out_of.n != 1:
        _refuse(
            what,
            f"collection-name: {name} -- error in member org policy: signature policy is not an OR "
            f"concatenation, NOutOf {rule.n_out_of.n}",
        )
    for inner in rule.n_out_of.rules:
        _verify_alternatives(what, name, inner, depth + 1)


def _verify_principal(what: str, name: str, principal: Any, channel: LifecycleChannel) -> None:
    kinds = msp_principal_pb2.MSPPrincipal
    kind = principal.principal_classification
    if kind == kinds.IDENTITY:
        if not channel.is_identity(principal.principal):
            _refuse(
                what,
                f"collection-name: {name} -- contains an identity that is not part of the channel",
            )
        return
    messages = {
        kinds.ROLE: msp_principal_pb2.MSPRole,
        kinds.ORGANIZATION_UNIT: msp_principal_pb2.OrganizationUnit,
    }
    if kind not in messages:
        _refuse(what, f"collection-name: {name} -- principal type {kind} is not supported")
    message = messages[kind]
    try:
        msp_id = message.FromString(principal.principal).msp_identifier
    except DecodeError:
        _refuse(
            what,
            f"collection-name: {name} -- cannot unmarshal identity bytes into "
            f"{message.DESCRIPTOR.name}",
        )
    if not channel.is_msp(msp_id):
        shown = msp_id[:_SHOWN] if msp_id.isprintable() else ""
        _refuse(
            what,
            f"collection-name: {name} -- collection member '{shown}' is not part of the channel",
        )


def _verify_unchanged(what: str, configs: Sequence[Any], committed: bytes) -> None:
    """Check that every collection in force stays, with its blocks to live."""
    old = collection_pb2.CollectionConfigPackage.FromString(committed).config
    if not old:
        return
    if not configs:
        _refuse(
            what, "the proposed collection config does not contain previously defined collections"
        )
    proposed = {config.name: config for config in configs}
    for each in old:
        config = each.static_collection_config
        found = proposed.get(config.name)
        if found is None:
            _refuse(
                what,
                f"existing collection [{config.name}] missing in the proposed collection "
                "configuration",
            )
        if found.block_to_live != config.block_to_live:
            _refuse(
                what,
                f"the BlockToLive in an existing collection [{config.name}] modified. Existing "
                f"value [{config.block_to_live}]",
            )


def _refuse(what: str, rule: str) -> NoReturn:
    raise ContractRefusal(what, rule, "correct the collections")
