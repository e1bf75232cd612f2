"""Descriptions in TOML: every fault is named with its line and reason; what we write reads back."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.cli.channel_description import ChannelDescription
from nodes.cli.members_description import USUAL_MEMBERS, MembersDescription
from nodes.cli.toml_text import render_toml
from nodes.toml_file import DescriptionRefusal, read_toml

MEMBERS = """\
[[members]]
msp_id = "BankMSP"
class = "bank"
group = "bank"

[[members]]
msp_id = "PtaMSP"
class = "regulator"
group = "pta"
"""

CHANNEL = """\
channel_id = "qist"
orderers = ["BankMSP"]

[[members]]
msp_id = "BankMSP"
msp = "bank/msp"
nodes = ["127.0.0.1:7051"]
"""


def faults(text: str, model: type) -> list[str]:
    """What is said against a description, one text a fault."""
    with pytest.raises(DescriptionRefusal) as refusal:
        read_toml(text, model, "file.toml")
    return str(refusal.value).splitlines()


def test_members_file_that_is_whole_is_taken() -> None:
    """What the documentation shows is accepted, with its defaults."""
    found = read_toml(MEMBERS, MembersDescription, "file.toml")
    assert found.channel_id == "qist"
    assert [member.msp_id for member in found.members] == ["BankMSP", "PtaMSP"]
    assert found.ordering_members == ("BankMSP",), "without an operator the first member orders"


def test_usual_members_let_an_operator_order() -> None:
    """Payments must go on while a bank or the regulator is away."""
    assert USUAL_MEMBERS.ordering_members == ("OperatorMSP",)


def test_every_member_orders_where_cometbft_does() -> None:
    """Unless the file names fewer."""
    found = read_toml('ordering = "cometbft"\n' + MEMBERS, MembersDescription, "file.toml")
    assert found.ordering_members == ("BankMSP", "PtaMSP")
    few = read_toml(
        'ordering = "cometbft"\norderers = ["PtaMSP"]\n' + MEMBERS, MembersDescription, "f.toml"
    )
    assert few.ordering_members == ("PtaMSP",)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ('channel = "qist"\n' + MEMBERS, 1, "channel: is not a name that file.toml knows"),
        (MEMBERS.replace('class = "bank"', 'class = "shop"'), 1, "class must be one of"),
        (MEMBERS.replace('class = "bank"\n', ""), 1, "members[1].class: is missing"),
        (MEMBERS.replace('group = "pta"', "group = 7"), 9, "members[2].group"),
        (MEMBERS.replace("PtaMSP", "BankMSP"), 1, "BankMSP is named twice"),
        (MEMBERS.replace("regulator", "operator"), 1, "no member is a regulator"),
        (MEMBERS.replace('"pta"', '"bank"'), 1, "one affiliate group"),
        (MEMBERS.replace("BankMSP", "channel"), 1, "cannot be named channel"),
        ('ordering = "raft"\n' + MEMBERS, 1, "ordering: Input should be 'solo' or 'cometbft'"),
        ('orderers = ["XMSP"]\n' + MEMBERS, 1, "orderers names XMSP, which is no member"),
        (MEMBERS + "\n[policy]\nwrong = 1\n", 11, "policy: the policy has no parameter"),
        (MEMBERS + "\n[policy]\ntrigger_days_past_due = 0\n", 11, "whole number from 1"),
        (MEMBERS + '\n[batch]\ntimeout = "1 s"\n', 11, "'1 s' is no duration"),
        (MEMBERS + "\n[batch]\nmax_message_count = 0\n", 12, "batch.max_message_count"),
        (MEMBERS + "\n[batch]\ntimeuot = 1\n", 12, "batch.timeuot: is not a name"),
    ],
)
def test_members_file_with_a_fault_names_line_and_reason(text: str, line: int, words: str) -> None:
    """Every fault is refused where it stands; the file is not half taken."""
    said = faults(text, MembersDescription)
    assert any(each.startswith(f"file.toml:{line}:") and words in each for each in said), said


def test_faults_are_all_named_at_once() -> None:
    """Somebody who corrects a file learns everything in one go."""
    said = faults('a = 1\nb = 2\nchannel_id = "Q"\n' + MEMBERS, MembersDescription)
    assert [each.split(":")[1] for each in said] == ["3", "1", "2"]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (CHANNEL.replace("7051", "99999"), 7, "write HOST:PORT"),
        (CHANNEL.replace('["127.0.0.1:7051"]', "[]"), 7, "members[1].nodes"),
        (CHANNEL.replace('msp = "bank/msp"\n', ""), 4, "members[1].msp: is missing"),
        (CHANNEL.replace('["BankMSP"]', '["PtaMSP"]'), 1, "which is no member"),
        (CHANNEL.replace('"qist"', '"Qist"'), 1, "channel_id"),
        ("time = 2026-01-01T00:00:00\n" + CHANNEL, 1, "time: Input should have timezone"),
        ("rehearsal = 3\n" + CHANNEL, 1, "rehearsal"),
        ('ordering = "raft"\n' + CHANNEL, 1, "ordering: Input should be 'solo' or 'cometbft'"),
        ('ordering = "cometbft"\n' + CHANNEL, 1, "BankMSP orders with cometbft and lacks"),
        (
            'ordering = "cometbft"\n' + CHANNEL + 'consensus = "bank/consensus"\n',
            1,
            "BankMSP orders with cometbft and lacks",
        ),
        (CHANNEL + 'consensus = "bank/consensus"\n', 1, "BankMSP is no consenter, since ordering"),
        (CHANNEL + 'consensus_address = "h:1"\n', 1, "BankMSP is no consenter, since ordering"),
        (
            'ordering = "cometbft"\n'
            + CHANNEL
            + 'consensus = "bank/consensus"\nconsensus_address = "h"\n',
            10,
            "write HOST:PORT",
        ),
    ],
)
def test_channel_file_with_a_fault_names_line_and_reason(text: str, line: int, words: str) -> None:
    """Every fault is refused where it stands."""
    said = faults(text, ChannelDescription)
    assert any(each.startswith(f"file.toml:{line}:") and words in each for each in said), said


def test_text_that_is_no_toml_is_refused_with_its_place() -> None:
    """The parser's own words say where."""
    assert "file.toml is not TOML" in faults("[[members]\n", MembersDescription)[0]


VALUES = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.text(max_size=20),
    st.lists(st.integers(0, 9), max_size=3),
    st.datetimes(timezones=st.just(UTC)).map(lambda each: each.replace(microsecond=0)),
)
NAMES = st.text(st.sampled_from('abc_-1."é '), min_size=1, max_size=6)
TABLES = st.dictionaries(NAMES, VALUES, max_size=3)


@given(
    plain=TABLES,
    tables=st.dictionaries(st.sampled_from(["t", "u v"]), TABLES.filter(bool)),
    listed=st.lists(TABLES, min_size=1, max_size=3),
)
def test_toml_that_is_written_reads_back_the_same(plain: dict, tables: dict, listed: list) -> None:
    """Whatever stands in a file of ours comes back as it was given."""
    plain = {f"p{name}": value for name, value in plain.items()}
    content = {**plain, **tables, "listed": listed}
    assert tomllib.loads(render_toml("a file", content)) == content


def test_toml_of_a_time_keeps_its_zone() -> None:
    """A genesis time is a moment, not a wall clock's hand."""
    moment = datetime(2026, 1, 1, 4, tzinfo=UTC)
    assert tomllib.loads(render_toml("x", {"time": moment}))["time"] == moment
