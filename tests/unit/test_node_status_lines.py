"""A node's status as people read it."""

from __future__ import annotations

from typing import Any

import pytest

from nodes.cli.status_lines import status_lines, warnings_in

STATUS: dict[str, Any] = {
    "name": "bank1",
    "msp_id": "BankMSP",
    "version": "1",
    "client_address": "a:1",
    "node_address": "a:2",
    "channel_id": "qist",
    "height": 7,
    "configuration": 0,
    "header_hash": "ab",
    "commit_hash": "cd",
    "ready": True,
    "halted": "",
    "outside": "",
    "started": "now",
    "recovered": "",
    "ordering": {
        "endpoint": "",
        "accepting": True,
        "reason": "",
        "engine": "solo",
        "role": "sequencer",
        "queued": 0,
    },
    "peers": [],
    "contracts": [],
    "certificates": [],
    "rehearsal": False,
    "clock": "now",
    "memory_bytes": 1,
}


@pytest.mark.parametrize(
    ("missing", "reconciled", "last_success", "expected"),
    [
        (0, 0, "", []),
        (2, 0, "", ["private data 2 write sets missing; 0 came late, the last never"]),
        (
            0,
            3,
            "2026-05-05T10:00:00+00:00",
            ["private data 0 write sets missing; 3 came late, the last 2026-05-05T10:00:00+00:00"],
        ),
    ],
)
def test_status_tells_of_private_data_where_there_is_something_to_tell(
    missing: int, reconciled: int, last_success: str, expected: list[str]
) -> None:
    """A node that has everything, and always had, says nothing of it."""
    told = {"missing": missing, "reconciled": reconciled, "last_success": last_success}
    lines = list(status_lines({**STATUS, "private_data": told}))
    assert [each for each in lines if each.startswith("private data")] == expected


NOTHING_PRIVATE = {"missing": 0, "reconciled": 0, "last_success": ""}
CONSENSUS = {
    "height": 12,
    "round": 0,
    "lag": 0,
    "validators": 4,
    "reachable": 4,
    "peers": ["MakerMSP", "OperatorMSP", "PtaMSP"],
    "misbehaviour": {},
    "restarts": 0,
    "unproven": 0,
    "unproven_why": "",
    "unrecorded": 0,
    "unrecorded_from": 0,
}
TROUBLE = {
    "round": 3,
    "lag": 5,
    "reachable": 1,
    "peers": [],
    "misbehaviour": {"PtaMSP": 2},
    "restarts": 1,
    "unproven": 7,
    "unproven_why": "too few signatures",
    "unrecorded": 3,
    "unrecorded_from": 5,
}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {},
            [
                "consensus    at height 12",
                "validators   4 of 4 in touch; linked with MakerMSP, OperatorMSP, PtaMSP",
            ],
        ),
        (
            TROUBLE,
            [
                "consensus    at height 12, round 3, 5 behind; started anew 1 times",
                "validators   1 of 4 in touch; linked with nobody",
                "finality     7 blocks are not proven final here yet: too few signatures",
                "finality     3 older blocks, the first of them block 5, have no proof of their "
                "own here",
                "misbehaviour PtaMSP: double signing proven 2 times",
            ],
        ),
    ],
)
def test_status_tells_how_the_agreement_stands(
    changes: dict[str, Any], expected: list[str]
) -> None:
    """What is as it should be is not told at length; trouble has a line or a word of its own."""
    ordering = {**STATUS["ordering"], "consensus": {**CONSENSUS, **changes}}
    lines = list(status_lines({**STATUS, "private_data": NOTHING_PRIVATE, "ordering": ordering}))
    begin = ("consensus", "validators", "finality", "misbehaviour")
    assert [each for each in lines if each.startswith(begin)] == expected


def warned(changes: dict[str, Any]) -> list[str]:
    """The warnings about an agreement that is as usual but for *changes*."""
    ordering = {**STATUS["ordering"], "consensus": {**CONSENSUS, **changes}}
    return warnings_in({**STATUS, "private_data": NOTHING_PRIVATE, "ordering": ordering})


@pytest.mark.parametrize(
    ("here", "validators", "one_more_stops_it"),
    [(4, 4, False), (3, 4, True), (2, 4, False), (3, 3, False), (6, 7, False), (5, 7, True)],
)
def test_status_warns_when_nobody_more_may_be_away(
    here: int, validators: int, one_more_stops_it: bool
) -> None:
    """While the last quorum stands; without it the status says that nothing is taken."""
    found = warned({"reachable": here, "validators": validators})
    assert bool(found) == one_more_stops_it
    assert all("with one more away nothing can be ordered" in each for each in found)


def test_status_warns_of_a_key_that_signed_twice() -> None:
    """By the member's name, since it is proven."""
    (found,) = warned({"misbehaviour": {"PtaMSP": 2}})
    assert "the voting key of PtaMSP signed two things at one height" in found


def test_status_warns_of_proofs_that_are_lacking() -> None:
    """Both what is wrong, and what the node does not do meanwhile."""
    assert warned({"unproven": 7}) == []
    assert warned({"unproven_why": "too few signatures"}) == [
        "a block's proof of being final cannot be stored: too few signatures"
    ]
    (gap,) = warned({"unrecorded": 3, "unrecorded_from": 5})
    assert "3 blocks from block 5 on" in gap
    assert "no snapshot beyond block 4" in gap
