"""A contract's private collections as Fabric's tools write them: a list of objects in JSON.

    [
      {
        "name": "terms-BankMSP",
        "policy": "OR('BankMSP.member', 'PtaMSP.member')",
        "requiredPeerCount": 1,
        "maxPeerCount": 2,
        "blockToLive": 0,
        "memberOnlyRead": true,
        "memberOnlyWrite": true,
        "endorsementPolicy": {"signaturePolicy": "AND('BankMSP.peer', 'PtaMSP.peer')"}
      }
    ]

`name` and `policy` must be there. Left out, the others are 0, 1, 0, false, false and nothing, as
with Fabric's `peer` command; an endorsement policy may also be a reference, `channelConfigPolicy`.

Pure: text in, message out. What Fabric demands of a definition's collections (a policy that is an
OR of members, counts that fit) is judged where the definition is approved and committed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from fabric_protos.peer import collection_pb2

from network.errors import PolicyError
from network.policy.language import parse_policy

MAX_LENGTH: Final = 1024 * 1024
_NUMBERS: Final = {
    "requiredPeerCount": ("required_peer_count", 0, 2**31 - 1),
    "maxPeerCount": ("maximum_peer_count", 1, 2**31 - 1),
    "blockToLive": ("block_to_live", 0, 2**64 - 1),
}
_FLAGS: Final = {"memberOnlyRead": "member_only_read", "memberOnlyWrite": "member_only_write"}
_OTHERS: Final = frozenset({"name", "policy", "endorsementPolicy"})


def read_collections(text: str) -> Any:
    """Return the ``CollectionConfigPackage`` of a file's text.

    Raises:
        PolicyError: it is not of the form above; the message names the place.
    """
    if len(text) > MAX_LENGTH:
        raise PolicyError(f"the collections are longer than {MAX_LENGTH} characters")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PolicyError(f"the collections are no JSON: {error}") from error
    if not isinstance(found, list):
        raise PolicyError("the collections must be a list of objects in JSON")
    package = collection_pb2.CollectionConfigPackage()
    for place, each in enumerate(found, 1):
        _read(f"collection {place}", each, package.config.add().static_collection_config)
    return package


def _read(place: str, given: Any, config: Any) -> None:
    if not isinstance(given, dict):
        raise PolicyError(f"{place}: must be an object with name and policy")
    unknown = sorted(set(given) - set(_NUMBERS) - set(_FLAGS) - _OTHERS)
    if unknown:
        known = ", ".join(sorted({*_NUMBERS, *_FLAGS, *_OTHERS}))
        raise PolicyError(f"{place}: {unknown[0][:40]!r} is not known; known are {known}")
    config.name = _text(place, given, "name")
    place = f"{place} ({config.name[:80]})"
    members = parse_policy(_text(place, given, "policy"))
    config.member_orgs_policy.signature_policy.CopyFrom(members)
    for name, (field, usual, most) in _NUMBERS.items():
        value = given.get(name, usual)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
            raise PolicyError(f"{place}: {name} must be a whole number from 0 to {most}")
        setattr(config, field, value)
    for name, field in _FLAGS.items():
        value = given.get(name, False)
        if not isinstance(value, bool):
            raise PolicyError(f"{place}: {name} must be true or false")
        setattr(config, field, value)
    endorsement = given.get("endorsementPolicy")
    if endorsement is not None:
        _read_endorsement(place, endorsement, config.endorsement_policy)


def _read_endorsement(place: str, given: Any, policy: Any) -> None:
    if not isinstance(given, dict) or len(given) != 1:
        raise PolicyError(
            f"{place}: endorsementPolicy must be an object with signaturePolicy or "
            "channelConfigPolicy"
        )
    if "signaturePolicy" in given:
        signed = parse_policy(_text(place, given, "signaturePolicy"))
        policy.signature_policy.CopyFrom(signed)
    else:
        policy.channel_config_policy_reference = _text(place, given, "channelConfigPolicy")


def _text(place: str, given: Mapping[str, Any], name: str) -> str:
    value = given.get(name)
    if not isinstance(value, str) or not value:
        raise PolicyError(f"{place}: {name} must be a text that is not empty")
    return value
