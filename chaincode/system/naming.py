"""What any definition must be like, approved or committed: name, version, plugins, policy,
collections.

Rules and words of names and collections: Fabric, core/chaincode/lifecycle/scc.go (`validateInput`).
Beyond Fabric, what nobody could use is refused: plugins that no node has, a policy that cannot be
read, names that are too long to be shown.
"""

from __future__ import annotations

import re
from typing import Any, Final

from fabric_protos.peer import policy_pb2
from google.protobuf.message import DecodeError

from chaincode.errors import AccessRefused, ContractRefusal
from chaincode.system.collections import verify_collections
from chaincode.system.definitions import Definition
from chaincode.system.parameters import (
    CHANNEL_POLICY,
    ENDORSEMENT_PLUGIN,
    VALIDATION_PLUGIN,
    Parameters,
)
from chaincode.system.ports import LifecycleChannel

_NAME: Final = re.compile(r"[A-Za-z0-9]+(?:[-_][A-Za-z0-9]+)*")
_VERSION: Final = re.compile(r"[A-Za-z0-9_.+-]+")
_SYSTEM: Final = frozenset({"lscc", "cscc", "qscc", "escc", "vscc"})
_LONGEST: Final = 64


def shown_name(name: str) -> str:
    """Return a contract's name for a message, in the place of one that is none."""
    return name if _NAME.fullmatch(name) and len(name) <= _LONGEST else "of that name"


def verify_definition(
    asked: Any, current: Definition | None, channel: LifecycleChannel
) -> Parameters:
    """Check what is approved or committed and return it complete.

    Args:
        asked: arguments of the call.
        current: the definition in force.
        channel: what it is checked against.
    Raises:
        ContractRefusal: it breaks a rule.
    """
    what = _verify_names(asked)
    committed = b"" if current is None else current.collection_package
    verify_collections(what, asked.collections, committed, channel)
    parameters = Parameters.asked(asked)
    if not parameters.policy and not channel.has_policy(CHANNEL_POLICY):
        raise ContractRefusal(
            what,
            f"policy '{CHANNEL_POLICY}' must be defined for the channel before chaincode "
            "operations can be attempted",
            "name a policy of the contract's own",
        )
    parameters = parameters.with_defaults()
    _verify_plugins(what, parameters)
    _verify_policy(what, parameters.policy)
    return parameters


def _verify_names(asked: Any) -> str:
    """Check name and version, and return what refusals call the definition."""
    name, version = asked.name, asked.version
    if not _NAME.fullmatch(name) or len(name) > _LONGEST:
        raise ContractRefusal(
            "the definition",
            f"invalid chaincode name '{_printable(name)}'. Names can only consist of "
            "alphanumerics, '_', and '-' and can only begin with alphanumerics",
            f"choose another of at most {_LONGEST} characters",
        )
    what = f"the definition of {name}"
    if name in _SYSTEM:
        raise AccessRefused(
            what, f"chaincode name '{name}' is the name of a system chaincode", "choose another"
        )
    if not _VERSION.fullmatch(version) or len(version) > _LONGEST:
        raise ContractRefusal(
            what,
            f"invalid chaincode version '{_printable(version)}'. Versions can only consist of "
            "alphanumerics, '_', '-', '+', and '.'",
            f"choose another of at most {_LONGEST} characters",
        )
    return what


def _printable(text: str) -> str:
    return text[:_LONGEST] if text.isprintable() else ""


def _verify_plugins(what: str, parameters: Parameters) -> None:
    plugins = (parameters.endorsement_plugin, parameters.validation_plugin)
    if plugins != (ENDORSEMENT_PLUGIN, VALIDATION_PLUGIN):
        raise ContractRefusal(
            what,
            f"names plugins that no node has; they are {ENDORSEMENT_PLUGIN} and "
            f"{VALIDATION_PLUGIN}",
            "leave them empty",
        )


def _verify_policy(what: str, policy: bytes) -> None:
    try:
        kind = policy_pb2.ApplicationPolicy.FromString(policy).WhichOneof("Type")
    except DecodeError:
        kind = None
    if kind is None:
        raise ContractRefusal(
            what,
            "validation parameter is no ApplicationPolicy, so nothing could satisfy it",
            "marshal a signature policy or a reference to a channel policy",
        )
