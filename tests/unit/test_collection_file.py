"""A file of private collections in Fabric's form gives the package that its tools would make."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from network.errors import PolicyError
from network.policy import parse_policy
from network.policy.collection_file import read_collections

WHOLE = {
    "name": "terms-BankMSP",
    "policy": "OR('BankMSP.member', 'PtaMSP.member')",
    "requiredPeerCount": 1,
    "maxPeerCount": 2,
    "blockToLive": 100,
    "memberOnlyRead": True,
    "memberOnlyWrite": True,
    "endorsementPolicy": {"signaturePolicy": "AND('BankMSP.peer', 'PtaMSP.peer')"},
}


def read_one(entry: Any) -> Any:
    return read_collections(json.dumps([entry])).config[0].static_collection_config


def test_collection_with_everything_said_is_read_field_by_field() -> None:
    """Every name of Fabric's format stands for one field of its message."""
    found = read_one(WHOLE)
    assert found.name == "terms-BankMSP"
    assert found.member_orgs_policy.signature_policy == parse_policy(str(WHOLE["policy"]))
    assert (found.required_peer_count, found.maximum_peer_count, found.block_to_live) == (1, 2, 100)
    assert (found.member_only_read, found.member_only_write) == (True, True)
    wanted = parse_policy("AND('BankMSP.peer', 'PtaMSP.peer')")
    assert found.endorsement_policy.signature_policy == wanted


def test_collection_with_name_and_policy_alone_has_the_usual_values() -> None:
    """As with Fabric's peer command: nobody must acknowledge, one member is pushed to."""
    found = read_one({"name": "c", "policy": "OR('A.member')"})
    assert (found.required_peer_count, found.maximum_peer_count, found.block_to_live) == (0, 1, 0)
    assert (found.member_only_read, found.member_only_write) == (False, False)
    assert not found.HasField("endorsement_policy")


def test_endorsement_policy_by_reference_is_kept_as_a_reference() -> None:
    """A policy of the channel's configuration."""
    found = read_one(WHOLE | {"endorsementPolicy": {"channelConfigPolicy": "/Channel/X"}})
    assert found.endorsement_policy.channel_config_policy_reference == "/Channel/X"


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"name": ""}, "name must be a text"),
        ({"policy": "OR('A.member'"}, "polic"),
        ({"policy": None}, "policy must be a text"),
        ({"requiredPeerCount": -1}, "requiredPeerCount must be a whole number"),
        ({"maxPeerCount": True}, "maxPeerCount must be a whole number"),
        ({"memberOnlyRead": "yes"}, "memberOnlyRead must be true or false"),
        ({"endorsementPolicy": {}}, "signaturePolicy or channelConfigPolicy"),
        ({"memberonlyread": True}, "is not known"),
    ],
)
def test_faulty_collection_is_refused_with_the_place(changed: dict[str, Any], word: str) -> None:
    """The message names what is wrong, and what is known."""
    with pytest.raises(PolicyError, match=word):
        read_one(WHOLE | changed)


@pytest.mark.parametrize("text", ["", "{}", "[1]", "[" * 100_000])
def test_text_that_is_no_list_of_collections_is_refused(text: str) -> None:
    """Never another exception."""
    with pytest.raises(PolicyError):
        read_collections(text)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_any_value_of_json_is_read_or_refused(value: Any) -> None:
    """No value makes anything else than an answer or a refusal."""
    for given_ in ([value], [WHOLE | {"maxPeerCount": value}], [WHOLE | {"policy": value}]):
        try:
            read_collections(json.dumps(given_))
        except PolicyError:
            continue
