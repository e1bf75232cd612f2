"""Who belongs to a lender's private collections in a network that is being made."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from network.policy.collection_file import read_collections
from nodes.cli.lender_collections import collections_of, render_collections
from nodes.cli.members_description import USUAL_MEMBERS, MembersDescription, NetworkMember


def member(msp_id: str, kind: str, group: str, **more: object) -> NetworkMember:
    return NetworkMember.model_validate({"msp_id": msp_id, "class": kind, "group": group} | more)


BANK = member("BankMSP", "bank", "bank")
OTHER_BANK = member("OtherMSP", "bank", "other")
OPERATOR = member("OperatorMSP", "operator", "operator")
MAKER = member("MakerMSP", "manufacturer", "maker")
PTA = member("PtaMSP", "regulator", "pta")


def test_usual_members_share_terms_with_receivers_and_identifiers_with_executors() -> None:
    """The maker is in none of them, the bank not among those who know an operator's numbers."""
    assert collections_of(USUAL_MEMBERS.members, {}) == {
        "terms-BankMSP": ("BankMSP", "OperatorMSP", "PtaMSP"),
        "identifiers-BankMSP": ("BankMSP", "OperatorMSP", "PtaMSP"),
        "terms-OperatorMSP": ("BankMSP", "OperatorMSP", "PtaMSP"),
        "identifiers-OperatorMSP": ("OperatorMSP", "PtaMSP"),
    }


def test_rival_lenders_are_in_none_of_each_others_collections() -> None:
    """Two banks, one operator: the other bank learns nothing unless the description says so."""
    found = collections_of([BANK, OTHER_BANK, OPERATOR, MAKER, PTA], {})
    assert "OtherMSP" not in found["terms-BankMSP"] + found["identifiers-BankMSP"]
    assert "BankMSP" not in found["terms-OtherMSP"] + found["identifiers-OtherMSP"]
    assert found["terms-OperatorMSP"] == ("BankMSP", "OperatorMSP", "PtaMSP")


def test_description_says_who_keeps_terms_and_identifiers() -> None:
    """An operator that receives nothing may be left out; executors follow the first policy."""
    bank = member("BankMSP", "bank", "bank", terms_with=["OtherMSP"])
    found = collections_of([bank, OTHER_BANK, OPERATOR, MAKER, PTA], {})
    assert found["terms-BankMSP"] == ("BankMSP", "OtherMSP", "PtaMSP")
    executing = {"executor_classes": ["operator", "manufacturer"]}
    found = collections_of([BANK, OPERATOR, MAKER, PTA], executing)
    assert found["identifiers-BankMSP"] == ("BankMSP", "OperatorMSP", "MakerMSP", "PtaMSP")
    alone = member("BankMSP", "bank", "bank", terms_with=[], identifiers_with=[])
    found = collections_of([alone, OPERATOR, PTA], {})
    assert found["terms-BankMSP"] == found["identifiers-BankMSP"] == ("BankMSP", "PtaMSP")


def test_file_asks_for_one_copy_elsewhere_and_for_two_groups_of_members() -> None:
    """What an endorser signs is on another member's disk; nobody outside endorses a write."""
    members = USUAL_MEMBERS.members
    text = render_collections(members, collections_of(members, {}))
    first = json.loads(text)[0]
    assert first == {
        "name": "terms-BankMSP",
        "policy": "OR('BankMSP.member', 'OperatorMSP.member', 'PtaMSP.member')",
        "requiredPeerCount": 1,
        "maxPeerCount": 2,
        "blockToLive": 0,
        "memberOnlyRead": True,
        "memberOnlyWrite": True,
        "endorsementPolicy": {
            "signaturePolicy": "OutOf(2, 'BankMSP.peer', 'OperatorMSP.peer', 'PtaMSP.peer')"
        },
    }
    names = [each.static_collection_config.name for each in read_collections(text).config]
    assert names == list(collections_of(members, {}))


def test_affiliates_in_a_collection_count_as_one_group() -> None:
    """A bank and its wallet endorse no write alone."""
    wallet = member("WalletMSP", "operator", "bank")
    bank = member("BankMSP", "bank", "bank", terms_with=["WalletMSP"])
    members = [bank, wallet, PTA]
    entries = json.loads(render_collections(members, collections_of(members, {})))
    assert entries[0]["endorsementPolicy"] == {
        "signaturePolicy": "OutOf(2, OR('BankMSP.peer', 'WalletMSP.peer'), 'PtaMSP.peer')"
    }


def test_description_with_a_stranger_or_of_a_member_that_cannot_lend_is_refused() -> None:
    """Said when the network is made, not when the first agreement is opened."""
    with pytest.raises(ValidationError, match="terms_with of BankMSP names NobodyMSP"):
        MembersDescription(
            members=(member("BankMSP", "bank", "bank", terms_with=["NobodyMSP"]), PTA)
        )
    with pytest.raises(ValidationError, match="cannot lend"):
        member("MakerMSP", "manufacturer", "maker", identifiers_with=["PtaMSP"])
