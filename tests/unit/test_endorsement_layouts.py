"""Which members are asked to endorse: as few as meet every policy."""

from __future__ import annotations

import pytest

from network.configuration import ChannelConfiguration
from network.policy import parse_policy
from nodes.gateway.layouts import (
    FirstLayouts,
    LayoutRefusal,
    Requirement,
    layouts,
    requirement_of_policy,
    requirement_of_signature_policy,
)
from tests.support.members import Member, genesis

MEMBERS = ("BankMSP", "MakerMSP", "OperatorMSP", "PtaMSP")
ANY_TWO = "OutOf(2, 'BankMSP.peer', 'OperatorMSP.peer', 'MakerMSP.peer', 'PtaMSP.peer')"


def policy(words: str) -> Requirement:
    return requirement_of_signature_policy(parse_policy(words).SerializeToString())


def found(requirements: list[Requirement], own: str, members: tuple[str, ...] = MEMBERS) -> list:
    return [set(each) for each in layouts(requirements, members, own)]


def test_layouts_of_any_two_ask_one_other_member_beside_the_own() -> None:
    """The own endorsement costs no call, so it is in the first layouts."""
    two = policy(ANY_TWO)
    first = found([two], "BankMSP")[:3]
    assert first == [{"BankMSP", "MakerMSP"}, {"BankMSP", "OperatorMSP"}, {"BankMSP", "PtaMSP"}]
    assert len(found([two], "BankMSP")) == 6


def test_layouts_leave_the_own_member_out_where_no_policy_needs_it() -> None:
    """An endorsement that counts for nothing is not carried."""
    both = policy("AND('OperatorMSP.peer', 'PtaMSP.peer')")
    assert found([both], "BankMSP") == [{"OperatorMSP", "PtaMSP"}]


def test_layouts_meet_all_policies_at_once() -> None:
    """The namespace's policy and those of the keys written must hold together."""
    any_two = policy(ANY_TWO)
    key = policy("AND('PtaMSP.peer', OR('BankMSP.peer', 'MakerMSP.peer'))")
    assert found([any_two, key], "OperatorMSP") == [{"BankMSP", "PtaMSP"}, {"MakerMSP", "PtaMSP"}]


def test_layouts_count_a_members_node_once() -> None:
    """Two principals of one member need two nodes of it, and there is one."""
    assert found([policy("AND('BankMSP.peer', 'BankMSP.member')")], "BankMSP") == []
    assert found(
        [policy("OutOf(2, 'BankMSP.peer', 'BankMSP.peer', 'PtaMSP.peer')")], "BankMSP"
    ) == [{"BankMSP", "PtaMSP"}]


@pytest.mark.parametrize("role", ["client", "admin", "orderer"])
def test_layouts_never_ask_a_node_for_a_role_that_it_does_not_have(role: str) -> None:
    """A client's or admin's signature cannot be had from a node."""
    assert found([policy(f"OR('BankMSP.{role}')")], "BankMSP") == []


def test_layouts_of_members_that_are_not_there_do_not_exist() -> None:
    """Down or unknown members are not among the candidates."""
    both = policy("AND('OperatorMSP.peer', 'PtaMSP.peer')")
    assert found([both], "BankMSP", ("BankMSP", "PtaMSP")) == []


def test_layouts_turn_so_that_load_is_spread() -> None:
    """Layouts of equal size begin with another member for another transaction."""
    two = policy(ANY_TWO)
    firsts = {next(layouts([two], MEMBERS, "BankMSP", turn)) for turn in range(3)}
    assert firsts == {
        ("BankMSP", "MakerMSP"),
        ("BankMSP", "OperatorMSP"),
        ("BankMSP", "PtaMSP"),
    }


def test_requirement_of_bytes_that_are_no_policy_is_refused() -> None:
    """They come from state, so they are answered and never trusted."""
    with pytest.raises(LayoutRefusal, match="cannot be decoded"):
        requirement_of_signature_policy(b"\xff\xff")


@pytest.mark.parametrize(("rule", "size"), [("ANY", 1), ("MAJORITY", 3), ("ALL", 4)])
def test_layouts_of_a_channel_policy_ask_as_many_members_as_its_rule_says(
    rule: str, size: int
) -> None:
    """An implicit-meta policy counts the members whose own policy is met."""
    block = genesis(
        [Member(msp_id) for msp_id in MEMBERS],
        policies={"LifecycleEndorsement": f"{rule} Endorsement"},
    )
    policies = ChannelConfiguration.from_block(block).policies
    requirement = requirement_of_policy(
        policies.policy("/Channel/Application/LifecycleEndorsement")
    )
    found_layouts = found([requirement], "BankMSP")
    assert {len(each) for each in found_layouts} == {size}
    assert "BankMSP" in found_layouts[0]


@pytest.mark.parametrize("words", [ANY_TWO, "AND('BankMSP.peer', 'PtaMSP.peer')"])
def test_first_layout_that_is_remembered_is_that_which_is_found(words: str) -> None:
    """For each turn, and for whoever can be asked; also where there is none."""
    first = FirstLayouts()
    rules = (policy(words), policy("OR('PtaMSP.peer', 'MakerMSP.peer')"))
    for _ in range(2):
        for members in (MEMBERS, MEMBERS[:2], MEMBERS[1:], ()):
            for requirements in ((), rules[:1], rules):
                for rotation in (0, 1, 2, 3, 4, 2**32 - 1):
                    expected = next(layouts(requirements, members, "BankMSP", rotation), None)
                    assert first.find(requirements, members, "BankMSP", rotation) == expected
