"""The policy file of a rehearsal: what may be left out, and what is refused with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from clients.rehearsal.errors import RehearsalRefused
from clients.rehearsal.plan import Plan, load_plan

MEMBERS = """
[members.BankMSP]
class = "bank"
affiliate_group = "one"
[members.OperatorMSP]
class = "operator"
affiliate_group = "one"
[members.MakerMSP]
class = "manufacturer"
affiliate_group = "maker"
[members.PtaMSP]
class = "regulator"
affiliate_group = "pta"
"""


def plan_of(tmp_path: Path, text: str) -> Plan:
    path = tmp_path / "policy.toml"
    path.write_text(text, encoding="utf-8")
    return load_plan(path)


def test_plan_with_members_alone_has_the_rulebooks_defaults(tmp_path: Path) -> None:
    """Everybody votes yes, the regulator frees waiting orders, facts come from the classes."""
    plan = plan_of(tmp_path, MEMBERS)
    assert set(plan.votes.values()) == {"yes"}
    assert plan.frees_waiting
    assert not plan.parameters
    assert (plan.assumed.operator, plan.assumed.maker) == ("OperatorMSP", "MakerMSP")
    assert [member.msp_id for member in plan.members] == [
        "BankMSP",
        "OperatorMSP",
        "MakerMSP",
        "PtaMSP",
    ]


def test_sale_is_confirmed_outside_the_lenders_group(tmp_path: Path) -> None:
    """A bank and its operator are one group, so the maker confirms for both."""
    plan = plan_of(tmp_path, MEMBERS)
    assert plan.confirmer("BankMSP") == "MakerMSP"
    assert plan.confirmer("OperatorMSP") == "MakerMSP"
    assert plan.confirmer("MakerMSP") == "OperatorMSP"


def test_terms_are_kept_by_those_who_receive_and_by_the_operator(tmp_path: Path) -> None:
    """Who is to post payments must belong to the lender's collection; the regulator does anyway."""
    plan = plan_of(tmp_path, MEMBERS)
    assert plan.keepers("BankMSP") == ["OperatorMSP"]
    assert plan.keepers("OperatorMSP") == []
    text = MEMBERS + '[assumed.received_by]\nwallet = "MakerMSP"\nescrow = "PtaMSP"\n'
    assert plan_of(tmp_path, text).keepers("BankMSP") == ["MakerMSP", "OperatorMSP"]


def test_receiving_institutions_always_reach_outside_the_lenders_group(tmp_path: Path) -> None:
    """Where the file names none outside, the regulator's escrow is one (rulebook 2)."""
    plan = plan_of(tmp_path, MEMBERS + '[assumed.received_by]\nwallet = "OperatorMSP"\n')
    assert plan.receiver("wallet", "BankMSP") == "OperatorMSP"
    assert plan.receiver("branch", "BankMSP") == "BankMSP"
    assert plan.receivers("BankMSP") == ["BankMSP", "OperatorMSP", "PtaMSP"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[members", "is not TOML"),
        ("[parameters]\nx = 1", "none is of the class regulator"),
        (MEMBERS + "[surprise]\nx = 1", "surprise: is not known here"),
        (MEMBERS + "[members.X]\nclass = 'shop'\naffiliate_group = 'x'", "members.X.class"),
        (MEMBERS + "[members.X]\nclass = 'bank'", "members.X.affiliate_group"),
        (
            MEMBERS + "[members.X]\nclass = 'bank'\naffiliate_group = 'x'\nage = 3",
            "members.X.age: is not known",
        ),
        (MEMBERS + "[votes]\nStrangerMSP = 'yes'", "votes.StrangerMSP"),
        (MEMBERS + "[votes]\nBankMSP = 'perhaps'", "votes.BankMSP"),
        (MEMBERS + "[actors]\nregulator_frees_waiting = true", "regulator_frees_waiting"),
        (MEMBERS + "[assumed]\noperator = 'StrangerMSP'", "assumed.operator: StrangerMSP"),
        (MEMBERS + "[assumed.received_by]\nwallet = 'StrangerMSP'", "received_by.wallet"),
        (MEMBERS + "[assumed]\nlanguage = 3", "assumed.language"),
        ("members = 3", "members: must be a table"),
    ],
)
def test_plan_that_says_something_unknown_is_refused_with_its_place(
    tmp_path: Path, text: str, words: str
) -> None:
    """A misspelt name is not silently passed over."""
    with pytest.raises(RehearsalRefused) as refused:
        plan_of(tmp_path, text)
    assert words in str(refused.value)
    assert "policy.toml" in str(refused.value)


def test_plan_that_is_not_there_names_the_option(tmp_path: Path) -> None:
    """The way out stands in the message."""
    with pytest.raises(RehearsalRefused, match="--policy"):
        load_plan(tmp_path / "none.toml")


def test_policy_used_when_none_is_named_can_be_read() -> None:
    """The default policy is a policy file like any other."""
    from clients.rehearsal.command import DEFAULT_POLICY

    assert load_plan(DEFAULT_POLICY).regulator.msp_id == "PtaMSP"
