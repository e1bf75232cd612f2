"""The vote (rulebook 5): electorate, quorum, abstentions, members that lost their standing."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import product
from typing import Any

import pytest

from chaincode.contract import Creator
from chaincode.instalments.cases.case import Ballot, Elector
from chaincode.instalments.cases.vote import counting, is_reachable, still_out, tally
from chaincode.instalments.members import Member, Roster
from tests.support.case_ledger import PROPOSED, CaseLedger, verdicts

SIX = (
    ("BankMSP", "bank", "bank"),
    ("OperatorMSP", "operator", "operator"),
    ("OtherBankMSP", "bank", "other"),
    ("OtherOpMSP", "operator", "other"),
    ("MakerMSP", "manufacturer", "maker"),
    ("FundMSP", "investment_firm", "fund"),
    ("PtaMSP", "regulator", "pta"),
)
DUE = [("2026-04-05", 100), ("2026-05-05", 100)]


@pytest.fixture
def ledger() -> CaseLedger:
    """Seven members in six groups and a case of the bank's in the vote."""
    ledger = CaseLedger(SIX)
    ledger.open("A1", instalments=DUE)
    ledger.bring("A1", "voting")
    return ledger


def _cast(ledger: CaseLedger, *votes: tuple[str, str]) -> str:
    state = ""
    for msp, choice in votes:
        found = ledger.vote("C-A1-1", by=msp, choice=choice)[0]
        assert found["ok"], found
        state = found["state"]
    return state


# ---- which ballots decide -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("votes", "state"),
    [
        # five groups vote: operator, other (a bank and its operator), maker, fund, pta
        ([("PtaMSP", "yes"), ("OperatorMSP", "yes")], "voting"),
        ([("PtaMSP", "yes"), ("OperatorMSP", "yes"), ("MakerMSP", "yes")], "ordered"),
        ([("OperatorMSP", "yes"), ("MakerMSP", "yes"), ("FundMSP", "yes")], "voting"),
        ([("OperatorMSP", "yes"), ("OtherOpMSP", "yes"), ("PtaMSP", "yes")], "voting"),
        ([("OperatorMSP", "yes"), ("OtherBankMSP", "yes"), ("PtaMSP", "yes")], "ordered"),
        ([("PtaMSP", "no")], "rejected"),
        ([("PtaMSP", "abstain")], "rejected"),
        ([("OperatorMSP", "no"), ("MakerMSP", "no")], "voting"),
        ([("OperatorMSP", "no"), ("MakerMSP", "no"), ("FundMSP", "no")], "rejected"),
        ([("OperatorMSP", "no"), ("MakerMSP", "abstain"), ("FundMSP", "abstain")], "rejected"),
        (
            [
                ("OperatorMSP", "abstain"),
                ("PtaMSP", "yes"),
                ("MakerMSP", "yes"),
                ("FundMSP", "yes"),
            ],
            "ordered",
        ),
        (
            [("OperatorMSP", "no"), ("PtaMSP", "yes"), ("MakerMSP", "yes"), ("FundMSP", "yes")],
            "ordered",
        ),
        (
            [("OperatorMSP", "no"), ("OtherOpMSP", "no"), ("PtaMSP", "yes"), ("MakerMSP", "yes")],
            "voting",
        ),
    ],
)
def test_vote_is_decided_by_the_ballot_that_makes_it_so(
    ledger: CaseLedger, votes: list[tuple[str, str]], state: str
) -> None:
    """The regulator and two more classes in different groups, and yes above no plus what is out;
    rejected as soon as that is impossible; the deciding ballot writes the order itself.
    """
    assert _cast(ledger, *votes) == state
    view = ledger.view("C-A1-1")
    assert view["state"] == state
    assert (view["order"] is not None) == (state == "ordered")


def test_vote_of_the_lenders_group_is_refused(ledger: CaseLedger) -> None:
    """The originator's group has no vote."""
    found = ledger.vote("C-A1-1", by="BankMSP")[0]
    assert (found["ok"], found["rule"]) == (False, "rulebook 5")


def test_vote_of_a_group_counts_once(ledger: CaseLedger) -> None:
    """A bank and its operator have one vote: the same again is nothing, another is refused."""
    _cast(ledger, ("OtherBankMSP", "yes"))
    again = ledger.vote("C-A1-1", by="OtherOpMSP")[0]
    assert (again["ok"], again["written"]) == (True, False)
    other = ledger.vote("C-A1-1", by="OtherOpMSP", choice="no")[0]
    assert "voted yes" in other["message"]
    assert len(ledger.ask("Ballots", "C-A1-1")) == 1


@pytest.mark.parametrize("role", ["lending", "executor", "governance", "auditor", ""])
def test_vote_of_another_role_is_refused(ledger: CaseLedger, role: str) -> None:
    """Only an officer for enforcement votes."""
    ballot = [{"case": "C-A1-1", "choice": "yes", "reason": "seen"}]
    outcome = ledger.decide("CastBallots", ballot, by=("PtaMSP", role))
    assert outcome.status == 400
    assert "this takes enforcement" in outcome.message


def test_vote_of_a_machine_is_refused(ledger: CaseLedger) -> None:
    """Votes are cast by persons, whatever role a machine's certificate carries."""
    machine = Creator("PtaMSP", "batch", {"qist.role": "enforcement", "qist.machine": "true"})
    ballot = [{"case": "C-A1-1", "choice": "yes", "reason": "seen"}]
    outcome = ledger.decide("CastBallots", ballot, by=machine)
    assert (outcome.status, "votes are cast by persons" in outcome.message) == (400, True)


def _suspend(ledger: CaseLedger, msp_id: str) -> None:
    change = {"msp_id": msp_id, "status": "suspended"}
    motion = f"M-{msp_id[:4].upper()}"
    ledger.decide("ProposeMember", motion, change, "breach", by=("PtaMSP", "governance"))
    for msp in ("PtaMSP", "BankMSP", "OperatorMSP", "MakerMSP", "OtherBankMSP"):
        ledger.decide(
            "CastMemberBallots", [{"proposal": motion, "choice": "yes"}], by=(msp, "governance")
        )
    assert ledger.ask("GovernanceProposal", motion)["state"] == "adopted"


def test_vote_of_a_member_no_longer_active_counts_nowhere(ledger: CaseLedger) -> None:
    """The ballot of a member that was suspended since is no yes, and its group is not out."""
    _cast(ledger, ("PtaMSP", "yes"), ("FundMSP", "yes"))
    _suspend(ledger, "FundMSP")
    assert _cast(ledger, ("OperatorMSP", "yes")) == "voting"
    assert _cast(ledger, ("MakerMSP", "yes")) == "ordered"


def test_vote_of_a_group_whose_voter_was_suspended_may_be_cast_by_its_affiliate(
    ledger: CaseLedger,
) -> None:
    """A group whose voter lost its standing may vote again through another elector."""
    _cast(ledger, ("OtherBankMSP", "no"))
    _suspend(ledger, "OtherBankMSP")
    assert _cast(ledger, ("OtherOpMSP", "yes")) == "voting"
    assert [each["msp_id"] for each in ledger.ask("Ballots", "C-A1-1")] == ["OtherOpMSP"]


def test_vote_of_a_member_admitted_later_is_refused(ledger: CaseLedger) -> None:
    """The electorate is fixed when the proposal is written."""
    change = {"msp_id": "NewMSP", "member_class": "bank", "affiliate_group": "new"}
    ledger.decide("ProposeMember", "M-NEW", change, "joins", by=("PtaMSP", "governance"))
    for msp in ("PtaMSP", "BankMSP", "OperatorMSP", "MakerMSP", "FundMSP"):
        ballot = [{"proposal": "M-NEW", "choice": "yes"}]
        ledger.decide("CastMemberBallots", ballot, by=(msp, "governance"))
    found = ledger.vote("C-A1-1", by="NewMSP")[0]
    assert (found["ok"], found["rule"]) == (False, "rulebook 5")
    assert ledger.view("C-A1-1")["proposal"]["electorate"] == [
        "fund", "maker", "operator", "other", "pta",
    ]  # fmt: skip


def test_vote_after_the_decision_is_refused(ledger: CaseLedger) -> None:
    """A ballot that comes after the order changes nothing."""
    _cast(ledger, ("PtaMSP", "yes"), ("OperatorMSP", "yes"), ("MakerMSP", "yes"))
    found = ledger.vote("C-A1-1", by="FundMSP")[0]
    assert (found["ok"], found["state"]) == (False, "ordered")


def test_votes_of_one_list_meet_in_one_transaction(ledger: CaseLedger) -> None:
    """One officer's signature over a list; the same case twice in it counts once."""
    ballots = [
        {"case": "C-A1-1", "choice": "yes", "reason": "seen"},
        {"case": "C-A1-1", "choice": "yes", "reason": "seen"},
        {"case": "C-A1-1", "choice": "no", "reason": "seen"},
    ]
    outcome = ledger.decide("CastBallots", ballots, by=("PtaMSP", "enforcement"))
    found = [(each["ok"], each["written"]) for each in verdicts(outcome)]
    assert found == [(True, True), (True, False), (False, False)]


def test_votes_open_lists_what_a_group_has_not_voted_on(ledger: CaseLedger) -> None:
    """VotesOpen follows the group, the day and the electorate."""

    def asked(day: date, msp: str) -> list[str]:
        page = ledger.ask("VotesOpen", day.isoformat(), msp, 10, "")
        return [row["case"] for row in page["cases"]]

    assert asked(PROPOSED, "OtherOpMSP") == ["C-A1-1"]
    assert asked(PROPOSED, "BankMSP") == []
    _cast(ledger, ("OtherBankMSP", "yes"))
    assert asked(PROPOSED, "OtherOpMSP") == []
    assert asked(PROPOSED + timedelta(days=7), "MakerMSP") == ["C-A1-1"]
    assert asked(PROPOSED + timedelta(days=8), "MakerMSP") == []


# ---- the pure rule against every way that votes can fall -----------------------------------------

CLASSES = {"pta": "regulator", "op": "operator", "mk": "manufacturer", "fd": "investment_firm"}
ROSTER = Roster(1, [Member(name, kind, name) for name, kind in CLASSES.items()])
ELECTORS = tuple(Elector(name, (name,)) for name in CLASSES)


def _ballots(cast: dict[str, str]) -> list[Ballot]:
    return [
        Ballot(name, name, CLASSES[name], "o", choice, "r", date(2026, 5, 19), "t")  # type: ignore[arg-type]
        for name, choice in cast.items()
    ]


def _carried(cast: dict[str, str]) -> bool:
    """The rule as a sentence: everybody has spoken."""
    yes = {name for name, choice in cast.items() if choice == "yes"}
    no = sum(choice == "no" for choice in cast.values())
    return "pta" in yes and len(yes - {"pta"}) >= 2 and len(yes) > no


def _may_still_be_carried(cast: dict[str, str]) -> bool:
    out = [name for name in CLASSES if name not in cast]
    ways = product(["yes", "no", "abstain"], repeat=len(out))
    return any(_carried(cast | dict(zip(out, way, strict=True))) for way in ways)


@pytest.mark.parametrize("pattern", list(product(["yes", "no", "abstain", ""], repeat=4)))
def test_tally_agrees_with_trying_every_way(pattern: tuple[str, ...]) -> None:
    """Rejected exactly when no way to fill in the ballots still out would carry it; carried only
    when every way that lets the rest vote no does, too.
    """
    cast = {name: choice for name, choice in zip(CLASSES, pattern, strict=True) if choice}
    ballots = _ballots(cast)
    found = tally(ballots, still_out(ELECTORS, ballots, ROSTER), 2)
    out = [name for name in CLASSES if name not in cast]
    assert (found == "carried") == _carried(cast | dict.fromkeys(out, "no"))
    if found != "carried":
        assert (found == "rejected") == (not _may_still_be_carried(cast))


@pytest.mark.parametrize(
    ("groups", "reachable"),
    [
        ({"pta": ["regulator"], "a": ["bank"], "b": ["operator"]}, True),
        ({"pta": ["regulator"], "a": ["bank", "operator"], "b": ["operator"]}, True),
        ({"pta": ["regulator"], "a": ["bank", "operator"]}, False),
        ({"pta": ["regulator"], "a": ["bank"], "b": ["bank"]}, False),
        ({"a": ["bank"], "b": ["operator"], "c": ["manufacturer"]}, False),
        ({"pta": ["regulator", "bank"], "a": ["bank"], "b": ["bank", "operator"]}, True),
    ],
)
def test_quorum_takes_different_classes_of_different_groups(
    groups: dict[str, list[str]], reachable: bool
) -> None:
    """One group lends one class; two classes of one group are no quorum."""
    members: list[Any] = [
        Member(f"{group}{place}", kind, group)
        for group, kinds in groups.items()
        for place, kind in enumerate(kinds)
    ]
    electors = [
        Elector(group, tuple(f"{group}{place}" for place in range(len(kinds))))
        for group, kinds in groups.items()
    ]
    assert is_reachable(electors, Roster(1, members), 2) is reachable


def test_counting_leaves_out_members_that_are_not_active() -> None:
    """Ballots of members no longer active count nowhere."""
    roster = Roster(2, [Member("op", "operator", "op", "", "suspended"), *ROSTER.members[1:]])
    ballots = _ballots({"op": "yes", "mk": "yes"})
    left = {each.msp_id for each in counting(ballots, roster)}
    assert left == {
        name for name in ("op", "mk") if roster.active_members and _active(roster, name)
    }


def _active(roster: Roster, name: str) -> bool:
    member = roster.find(name)
    return member is not None and member.is_active
