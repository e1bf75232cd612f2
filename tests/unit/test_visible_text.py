"""What members wrote, as others read it on a terminal."""

from __future__ import annotations

import pytest

from clients.cli.terminal import Terminal
from network.text import visible


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ahmed & Co., قسط\n\ttwo lines", "Ahmed & Co., قسط\n\ttwo lines"),
        ("ca\x1b[1A\x1b[2K", "ca\\x1b[1A\\x1b[2K"),
        ("good\rbad", "good\\rbad"),
        ("a\x08\x7f\x9b", "a\\x08\\x7f\\x9b"),
        ("fee \u202e05.4", "fee \\u202e05.4"),
        ("\ud800", "\\ud800"),
    ],
)
def test_characters_that_act_on_a_terminal_are_shown_as_they_are(text: str, expected: str) -> None:
    """Letters of any script stay; what moves the cursor or turns text round becomes its escape."""
    assert visible(text) == expected


def test_results_and_notes_carry_no_character_that_acts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A certificate's name cannot take back the line above it."""
    terminal = Terminal(as_json=False, is_rehearsal=False)
    terminal.result({}, ["authority ca\x1b[1A\x1b[2Kharmless"])
    terminal.note("node says \x1b]0;title\x07")
    told = capsys.readouterr()
    assert "\x1b" not in told.out + told.err
    assert "ca\\x1b[1A" in told.out
