"""The root of the command line: its words, its exit codes, its errors, the public names."""

from __future__ import annotations

import json
from importlib import import_module, metadata
from pathlib import Path

import grpc
import pytest
from typer.main import get_command

import qist
from chaincode.errors import PackageError
from clients.gateway.errors import CommitStatusError, EndorseError, GatewayUnreachable
from ledger.errors import CorruptionError, LedgerLocked, Refusal, Unavailable
from network.errors import CertificateError, ConfigurationError
from nodes.cli import terminal


@pytest.mark.parametrize("word", qist._COMMANDS)
def test_word_of_the_command_line_leads_to_its_module(word: str) -> None:
    """Every word that `qist --help` lists is served by the module it names."""
    module, text = qist._COMMANDS[word]
    command = get_command(import_module(module).app)
    served = getattr(command, "commands", {}).get(word, command)
    assert served.help, f"{word} says what it is for"
    assert text.endswith(".")


@pytest.mark.parametrize("word", qist._COMMANDS)
def test_help_of_a_word_is_shown(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` of every word ends with 0 and names the word."""
    assert qist.main([word, "--help"]) == 0
    assert f"qist {word}" in capsys.readouterr().out


@pytest.mark.parametrize("word", qist._MORE)
def test_word_served_by_several_modules_offers_all_their_commands(
    word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Commands that talk to a node and those that run one stand under one word, none hidden."""
    modules = (qist._COMMANDS[word][0], *qist._MORE[word])
    offered = [
        name
        for module in modules
        for name in getattr(get_command(import_module(module).app), "commands", {})
    ]
    assert len(set(offered)) == len(offered), "a command of one module hides another's"
    assert qist.main([word, "--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f" {name} " in shown for name in offered)


def test_help_lists_every_word(capsys: pytest.CaptureFixture[str]) -> None:
    """A newcomer sees everything there is."""
    assert qist.main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f" {word} " in shown for word in qist._COMMANDS)


def test_version_is_the_installed_one(capsys: pytest.CaptureFixture[str]) -> None:
    """`qist --version` says what a node's status says, and ends with 0."""
    assert qist.main(["--version"]) == 0
    assert capsys.readouterr().out == f"qist {metadata.version('qist')}\n"


@pytest.mark.parametrize(
    "words", [["nonsense"], ["org", "nonsense"], ["org", "create"], ["node", "status", "--wrong"]]
)
def test_wrong_command_line_ends_with_2(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Usage errors have a code of their own, and go to standard error."""
    assert qist.main(words) == 2
    assert "Usage" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "kind"),
    [
        (Refusal("no"), 1, "refused"),
        (ConfigurationError("no"), 1, "refused"),
        (CertificateError("no"), 1, "refused"),
        (PackageError("no"), 1, "refused"),
        (FileNotFoundError(2, "No such file or directory", "x"), 1, "refused"),
        (Unavailable("later"), 3, "unavailable"),
        (LedgerLocked("later"), 3, "unavailable"),
        (GatewayUnreachable("later"), 3, "unavailable"),
        (CorruptionError("broken"), 4, "fatal"),
        (KeyError("35201-1234567-1"), 70, "internal"),
        (ExceptionGroup("two", [Refusal("a"), ValueError("b")]), 70, "internal"),
    ],
)
def test_error_becomes_the_exit_code_of_its_kind(error: Exception, code: int, kind: str) -> None:
    """One table decides, for every command."""
    found = qist._judged(error)
    assert found[:2] == (code, kind)
    assert "35201" not in found[2], "an unforeseen error's own words may hold a record"


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (EndorseError, grpc.StatusCode.UNAVAILABLE, 3),
        (EndorseError, grpc.StatusCode.ABORTED, 1),
        (CommitStatusError, grpc.StatusCode.DEADLINE_EXCEEDED, 3),
    ],
)
def test_error_of_a_gateway_is_judged_by_its_status(
    error: type, status: grpc.StatusCode, code: int
) -> None:
    """What may succeed later is told apart from what is refused for good."""
    assert qist._judged(error("said", code=status, tx_id="t", details=()))[0] == code


def test_error_is_one_line_that_names_its_source(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Never a traceback; with --json an object on standard error."""
    assert qist.main(["node", "status", "/nonexistent/node"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("qist: /nonexistent/node/node.toml does not exist;")
    assert said.err.count("\n") == 1
    assert qist.main(["node", "status", "/nonexistent/node", "--json"]) == 1
    error = json.loads(capsys.readouterr().err)["error"]
    assert error["kind"] == "refused"
    assert "qist node init" in error["message"]


def test_mistake_of_ours_names_its_place_and_no_data(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unforeseen error is told by kind and place, so that no record leaks into a terminal."""

    def broken(*_: object, **__: object) -> None:
        raise ValueError("CNIC 35201-1234567-1")

    monkeypatch.setattr(qist, "command_line", broken)
    assert qist.main(["node"]) == 70
    said = capsys.readouterr().err
    assert "ValueError at tests/unit/test_command_line.py:" in said
    assert "35201" not in said


def test_public_name_is_what_it_says() -> None:
    """`from qist import X` gives every name of `__all__`, and no other."""
    for name in qist.__all__:
        assert getattr(qist, name).__name__ == name
    assert set(qist.__all__) == {*qist._MODULE_OF, "main"}
    assert dir(qist) == sorted(qist.__all__)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = qist.nonsense


def test_rehearsal_is_named_on_every_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever a rehearsal prints carries the word, on either stream and in JSON."""
    shown = terminal.Terminal(as_json=False)
    shown.speak_of_rehearsal(True)
    shown.progress("working")
    shown.warn("look")
    shown.table({}, ("a", "b"), [("1", "x" * 300)])
    said = capsys.readouterr()
    assert all(line.startswith("REHEARSAL: ") for line in said.err.splitlines())
    assert said.out.startswith("REHEARSAL: ")
    assert "x" * 300 in said.out, "cells are shown whole"
    shown = terminal.Terminal(as_json=True, session=shown.session)
    shown.result({"height": 1}, [])
    assert json.loads(capsys.readouterr().out) == {"rehearsal": True, "height": 1}


def test_real_network_is_never_called_a_rehearsal(capsys: pytest.CaptureFixture[str]) -> None:
    """The word means something only if it is absent elsewhere."""
    shown = terminal.Terminal(as_json=False)
    shown.speak_of_rehearsal(False)
    shown.progress("working")
    shown.result({}, ["done"])
    said = capsys.readouterr()
    assert (said.out, said.err) == ("done\n", "working\n")


def test_exit_codes_are_told_in_the_documentation() -> None:
    """docs/howto/run-a-node.md lists the codes that there are."""
    page = (Path(qist.__file__).parent / "docs/howto/run-a-node.md").read_text("utf-8")
    table = page.split("## Exit codes")[1]
    codes = (qist.OK, qist.REFUSED, qist.USAGE, qist.UNAVAILABLE, qist.FATAL, qist.INTERNAL)
    for code in (*codes, qist.INTERRUPTED):
        assert f"\n| {code} | " in table
