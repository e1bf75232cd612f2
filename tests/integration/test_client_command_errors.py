"""Commands against a gateway that misbehaves: exit codes, one clear line, kill -9 of an import."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

import qist
from clients.cli import app
from clients.files.channel import GatewayLedger
from clients.files.endorsers import endorsing_choices
from clients.gateway.asynchronous import AsyncGateway
from clients.gateway.errors import EndorseError
from ledger.errors import LedgerError
from ledger.transactions.codes import TxValidationCode
from tests.support.fake_gateway import Call, FakeGateway, Member, Refused
from tests.support.payment_files import MadeFile, make_file
from tests.support.processes import BIN, wait_for

MEMBERS = [
    {"msp_id": name, "affiliate_group": group, "member_class": kind, "status": status}
    for name, group, kind, status in (
        ("BankMSP", "bank", "bank", "active"),
        ("BankPayMSP", "bank", "investment_firm", "active"),
        ("MakerMSP", "maker", "manufacturer", "active"),
        ("OldMSP", "old", "operator", "suspended"),
        ("PtaMSP", "pta", "regulator", "active"),
    )
]
ORDER = {"order": "O-1", "case": "C-1", "agreement": "A-1", "tier": 1, "device": "k1:ab"}


class Consortium:
    """The few functions of the contracts that these commands call."""

    def __init__(self) -> None:
        self.payments: dict[str, int] = {}
        self.writes = 0

    def post(self, call: Call) -> Any:
        """PostPayments and ReversePayments: each record once."""
        records = json.loads(call.args[0])
        beside = json.loads(call.transient.get("amounts", b"null")) or [0] * len(records)
        verdicts, new = [], {}
        for record, amount in zip(records, beside, strict=True):
            name = f"{call.function}/{record['reference']}"
            is_new = name not in self.payments and name not in new
            verdicts.append({"id": name, "ok": True, "written": is_new, "state": "current"})
            if is_new:
                new[name] = amount

        def effect() -> None:
            self.writes += len(new)
            self.payments.update(new)

        return json.dumps({"verdicts": verdicts}), effect

    def vote(self, call: Call) -> Any:
        """CastBallots: only C-1 is put to the vote."""
        verdicts = []
        for ballot in json.loads(call.args[0]):
            ok = ballot["case"] == "C-1"
            message = "" if ok else f"case {ballot['case']} is not voting; look at it"
            verdicts.append(
                {
                    "id": ballot["case"],
                    "ok": ok,
                    "written": ok,
                    "state": "voting",
                    "message": message,
                }
            )
        return json.dumps({"verdicts": verdicts})

    def refuse(self, call: Call) -> Any:
        """A query that is refused under a rule."""
        raise Refused(f"case {call.args[0]} is not on record (rulebook 4); check its name")


@pytest.fixture(scope="module")
def member(tmp_path_factory: pytest.TempPathFactory) -> Member:
    """One member with certificates."""
    made = Member(tmp_path_factory.mktemp("member"))
    made.user("lending")
    return made


@pytest.fixture
def consortium() -> Consortium:
    """An empty ledger."""
    return Consortium()


@pytest.fixture
def fake(member: Member, consortium: Consortium) -> Iterator[FakeGateway]:
    """A gateway with the consortium's functions behind it."""
    with FakeGateway(member) as gateway:

        def recorded(call: Call) -> Any:
            if call.args[1] not in gateway.channel.transactions:
                raise Refused("no such transaction", 500)
            return b""

        gateway.channel.functions.update(
            {
                "Members": lambda _: json.dumps({"members": MEMBERS}),
                "PostPayments": consortium.post,
                "ReversePayments": consortium.post,
                "CastBallots": consortium.vote,
                "Case": consortium.refuse,
                "CaseOf": lambda _: "null",
                "OrdersOpen": lambda _: json.dumps({"orders": [ORDER], "bookmark": ""}),
                "Order": lambda _: json.dumps(ORDER),
                "GetTransactionByID": recorded,
            }
        )
        yield gateway


@pytest.fixture
def profile(fake: FakeGateway, member: Member, tmp_path: Path) -> Path:
    """A connection profile that leads to the gateway."""
    return write_profile(tmp_path, member, fake.port)


def write_profile(folder: Path, member: Member, port: int) -> Path:
    """A profile of the member in *folder*."""
    user = member.organisation.user_folder("lending") / "msp"
    content = {
        "client": {"organization": "Bank"},
        "channels": {"qist": {}},
        "organizations": {
            "Bank": {
                "mspid": member.msp_id,
                "peers": ["gateway"],
                "users": {
                    "lending": {
                        "cert": str(user / "signcerts/cert.pem"),
                        "private_key": str(user / "keystore/key.pem"),
                    }
                },
            }
        },
        "peers": {
            "gateway": {
                "url": f"grpcs://127.0.0.1:{port}",
                "tlsCACerts": {"pem": member.tls("ca.crt").decode()},
                "grpcOptions": {"ssl-target-name-override": "localhost"},
            }
        },
    }
    path = folder / f"connection-{port}.json"
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def run(
    profile: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str, str]]:
    """Runs a command as the user whom the environment names."""
    monkeypatch.setenv("QIST_PROFILE", str(profile))
    monkeypatch.setenv("QIST_USER", "lending")

    def command(*words: str) -> tuple[int, str, str]:
        code = qist.main(list(words))
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return command


def test_refusal_of_the_contract_is_one_line_in_its_own_words(run: Callable[..., Any]) -> None:
    """The gateway's words around a refusal are left out; exit code 1."""
    code, out, err = run("case", "show", "C-A-9")
    assert (code, out) == (1, "")
    assert err == "qist: case C-A-9 is not on record (rulebook 4); check its name\n"


def test_verdicts_of_a_bulk_are_printed_and_a_refused_one_gives_exit_code_1(
    run: Callable[..., Any],
) -> None:
    """One signature for many records, one line a record."""
    code, out, _ = run("case", "vote", "yes", "C-1", "--reason", "arrears")
    assert (code, out) == (0, "ok       C-1 voting\n")
    code, out, _ = run("case", "vote", "yes", "C-1", "C-2", "--reason", "arrears")
    assert code == 1
    assert out.splitlines()[1] == "refused  case C-2 is not voting; look at it"


def test_conflict_of_a_command_is_met_by_another_endorsement(
    run: Callable[..., Any], fake: FakeGateway
) -> None:
    """The contracts write nothing twice, so the commands of cases try again by themselves."""
    fake.commit_as(TxValidationCode.MVCC_READ_CONFLICT)
    code, _, _ = run("case", "vote", "yes", "C-1", "--reason", "arrears")
    assert code == 0
    assert fake.calls["Endorse"] == 2


def test_submission_with_an_open_outcome_says_how_to_look(
    run: Callable[..., Any], fake: FakeGateway
) -> None:
    """Exit code 3, and not a word that nothing happened."""
    fake.fail("Submit", grpc.StatusCode.UNAVAILABLE, after=True)
    code, _, err = run("submit", "enforcement", "CastBallots", "[]")
    assert code == 3
    assert "it may be committed all the same: look with 'qist tx" in err


def test_gateway_that_is_away_gives_exit_code_3(run: Callable[..., Any], fake: FakeGateway) -> None:
    """No answer is no refusal."""
    fake.stop()
    code, _, err = run("case", "list")
    assert code == 3
    assert "nothing was written" in err
    code, _, err = run("case", "list", "--json")
    assert json.loads(err)["error"]["kind"] == "unavailable"


def test_command_of_a_rehearsal_says_so_wherever_it_prints(
    run: Callable[..., Any], fake: FakeGateway
) -> None:
    """The word stands before results, in JSON, and before errors; the proposal has the time."""
    at = ("--at", "2026-05-05T09:00:00+05:00")
    code, out, err = run("order", "list", *at)
    assert code == 0
    assert err.startswith("REHEARSAL")
    assert "O-1" in out
    assert fake.timestamps[-1].isoformat() == "2026-05-05T04:00:00"
    _, out, _ = run("order", "show", "O-1", "--json", *at)
    assert json.loads(out)["rehearsal"] is True
    code, _, err = run("case", "show", "C-A-9", *at)
    assert err.startswith("REHEARSAL: qist: ")
    code, _, err = run("order", "list", "--at", "yesterday")
    assert code == 1
    assert "2025-01-31T09:00:00+05:00" in err


def test_no_command_writes_a_file_for_executors(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Orders are shown and acknowledged; nothing is exported, in a rehearsal or elsewhere."""
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    for words in (("order", "list"), ("order", "show", "O-1")):
        assert run(*words, "--at", "2026-05-05T09:00:00+05:00")[0] == 0
    assert list(empty.iterdir()) == []
    names = {
        word
        for group in app.registered_groups
        if group.typer_instance is not None
        for command in group.typer_instance.registered_commands
        for word in (command.name or "").split("-")
    }
    assert "acknowledge" in names
    assert not names & {"export", "write", "dump", "deliver"}


# ---- imports --------------------------------------------------------------------------------


def good(made: MadeFile) -> dict[str, int]:
    """What the ledger must hold in the end."""
    payments = {f"PostPayments/{name}": paisa for name, paisa in made.good.items()}
    return payments | {f"ReversePayments/{name}": 0 for name in made.reversals}


def test_import_by_command_reports_and_gives_exit_code_5_for_rejects(
    run: Callable[..., Any], consortium: Consortium, tmp_path: Path
) -> None:
    """Rows that stand, rows that do not, sums; a file without bad rows gives 0."""
    made = make_file(tmp_path / "payments.csv", 40)
    code, out, _ = run("import", "payments", str(made.path), "--batch", "5")
    assert code == 5
    assert consortium.payments == good(made)
    shown = [line.split() for line in out.splitlines()]
    assert ["rejected", str(len(made.bad)), "rows"] in [words[:3] for words in shown]
    assert "payments.csv.rejects.csv" in out
    clean = make_file(tmp_path / "clean.csv", 10, bad_every=0, seed=9)
    code, out, _ = run("import", "payments", str(clean.path), "--json")
    assert code == 0
    report = json.loads(out)
    assert report["read"]["rows"] == 10
    assert report["read"]["paisa"] == sum(clean.good.values())
    code, _, err = run("import", "payments", str(tmp_path / "nothing.csv"))
    assert code == 1
    assert "there is no file" in err


def test_import_killed_by_sigkill_is_taken_up_by_the_same_command(
    run: Callable[..., Any],
    fake: FakeGateway,
    consortium: Consortium,
    profile: Path,
    tmp_path: Path,
) -> None:
    """A process of its own, killed with transactions under way: nothing twice, nothing lost."""
    made = make_file(tmp_path / "payments.csv", 60)
    words = ["import", "payments", str(made.path), "--batch", "4", "--in-flight", "2"]
    gate = fake.hold("CommitStatus")
    process = subprocess.Popen(
        [str(BIN / "qist"), *words],
        env={**os.environ, "QIST_PROFILE": str(profile), "QIST_USER": "lending"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    wait_for(lambda: fake.calls["CommitStatus"] >= 2, "two transactions under way")
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=20)
    assert process.returncode == -signal.SIGKILL
    gate.set()
    assert consortium.writes > 0
    code, out, _ = run(*words, "--json")
    report = json.loads(out)
    assert code == 5
    assert consortium.payments == good(made)
    assert consortium.writes == len(good(made))
    assert report["written"]["rows"] + report["already_there"]["rows"] == len(good(made))
    assert report["rejected"]["rows"] == len(made.bad)


def test_import_that_breaks_off_is_unavailable_and_goes_on_later(
    run: Callable[..., Any],
    fake: FakeGateway,
    consortium: Consortium,
    tmp_path: Path,
) -> None:
    """When patience is over the command ends with 3; the same command ends the work."""
    made = make_file(tmp_path / "payments.csv", 30)
    fake.fail("Submit", grpc.StatusCode.UNAVAILABLE)
    words = ("import", "payments", str(made.path), "--batch", "4")
    code, _, err = run(*words, "--patience", "0")
    assert code == 3
    assert "submit of transaction" in err
    assert run(*words)[0] == 5
    assert consortium.payments == good(made)


# ---- endorsers ------------------------------------------------------------------------------


def test_choices_of_endorsers_begin_with_the_regulator_and_leave_out_the_own_group() -> None:
    """Two affiliate groups must endorse; suspended members are not asked."""
    assert endorsing_choices(MEMBERS, "BankMSP") == (("BankMSP", "PtaMSP"), ("BankMSP", "MakerMSP"))
    assert endorsing_choices(MEMBERS, "PtaMSP")[0] == ("PtaMSP", "BankMSP")
    assert endorsing_choices(MEMBERS[:2], "BankMSP") == (("BankMSP",),)


def test_choices_of_endorsers_are_members_that_keep_the_same_terms() -> None:
    """Who is in no circle of the own member cannot endorse and must not see the amounts."""
    circle = frozenset({"BankMSP", "PtaMSP"})
    bank = {"terms-BankMSP": circle}
    assert endorsing_choices(MEMBERS, "BankMSP", bank) == (("BankMSP", "PtaMSP"),)
    wider = circle | {"MakerMSP"}
    both = bank | {"terms-MakerMSP": wider}
    assert endorsing_choices(MEMBERS, "MakerMSP", both) == (
        ("MakerMSP", "PtaMSP"),
        ("MakerMSP", "BankMSP"),
    )
    strangers = endorsing_choices(MEMBERS, "MakerMSP", bank)
    assert strangers == endorsing_choices(MEMBERS, "MakerMSP")


async def submit_one(fake: FakeGateway, member: Member, patience_s: float) -> Any:
    """Post one payment through the loader's ledger."""
    async with AsyncGateway(fake.endpoint, member.user()) as gateway:
        ledger = await GatewayLedger.connect(gateway, "qist", patience_s=patience_s)
        return await ledger.submit("PostPayments", [{"reference": "P-1"}], {"amounts": [1]})


def test_endorser_that_is_away_is_replaced_by_the_next_choice(
    fake: FakeGateway, member: Member, consortium: Consortium
) -> None:
    """With the regulator's node down a payment is endorsed by another group, without waiting."""
    fake.fail("Endorse", grpc.StatusCode.UNAVAILABLE, "failed to find any endorsing peers")
    (verdict,) = asyncio.run(submit_one(fake, member, patience_s=0.0))
    assert verdict.is_written
    assert consortium.payments == {"PostPayments/P-1": 1}


def test_endorsers_that_are_all_away_end_the_submission_when_patience_is_over(
    fake: FakeGateway, member: Member
) -> None:
    """Every choice was tried; then it is an error, not an endless loop."""
    fake.fail("Endorse", grpc.StatusCode.UNAVAILABLE, times=9)
    with pytest.raises(EndorseError):
        asyncio.run(submit_one(fake, member, patience_s=0.0))
    assert fake.calls["Endorse"] == 2


def test_gateway_that_comes_back_is_waited_for(fake: FakeGateway, member: Member) -> None:
    """A short absence is borne with."""
    fake.fail("Endorse", grpc.StatusCode.UNAVAILABLE, times=3)
    (verdict,) = asyncio.run(submit_one(fake, member, patience_s=20.0))
    assert verdict.is_written


def test_answer_that_is_no_verdict_is_fatal(fake: FakeGateway, member: Member) -> None:
    """A contract of another version is noticed, not taken for success."""
    fake.channel.functions["PostPayments"] = lambda _: "[]"
    with pytest.raises(LedgerError, match="another version"):
        asyncio.run(submit_one(fake, member, patience_s=0.0))
