"""Imports of whole files: sums that reconcile, rejects, the same file twice, kill -9 anywhere."""

from __future__ import annotations

import asyncio
import csv
import json
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chaincode.instalments.identifiers import Keyring, PseudonymKey
from clients.files import loader
from clients.files.errors import FileRefused
from clients.files.jobs import PaymentsJob
from clients.files.keyrings import load_keyrings
from clients.files.loader import Import, ImportReport
from clients.files.mapping import ColumnMapping, load_mapping
from clients.files.tally import Fate, Seen, Tally, TallyBroken
from ledger.errors import Unavailable
from tests.support import killed_imports
from tests.support.payment_files import MadeFile, PaymentLedger, make_file


def run_import(
    made: MadeFile, ledger: PaymentLedger | None, mapping: ColumnMapping | None = None
) -> ImportReport:
    """Import a file in small transactions."""
    job = PaymentsJob("BankMSP", mapping or ColumnMapping())
    return asyncio.run(Import(made.path, job, ledger, in_flight=2, batch=3).run())


def rejects_of(made: MadeFile) -> list[dict[str, str]]:
    """The rows of the file of rejects."""
    path = made.path.with_name(made.path.name + ".rejects.csv")
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def counts(report: ImportReport) -> dict[str, int]:
    """Rows by fate."""
    return {fate.value: report.tally.rows[fate] for fate in Fate if report.tally.rows[fate]}


def verify_ledger(made: MadeFile, ledger: PaymentLedger) -> None:
    """Every good row of the file stands once, with its amount, reversals behind their payments."""
    entries = ledger.entries()
    payments = {e["reference"]: e["paisa"] for e in entries if e["function"] == "PostPayments"}
    taken_back = [e["reference"] for e in entries if e["function"] == "ReversePayments"]
    assert payments == made.good
    assert sorted(taken_back) == sorted(made.reversals)
    assert len(entries) == len(payments) + len(taken_back)
    order = [(entry["function"], entry["reference"]) for entry in entries]
    for reference in made.reversals:  # a reversal stands behind its payment
        paid, reversed_ = ("PostPayments", reference), ("ReversePayments", reference)
        assert order.index(paid) < order.index(reversed_)


@pytest.fixture
def made(tmp_path: Path) -> MadeFile:
    """A file with good and bad rows, parts of it reversals."""
    return make_file(tmp_path / "payments.csv", 60)


@pytest.fixture
def ledger(tmp_path: Path) -> PaymentLedger:
    """An empty ledger."""
    return PaymentLedger(tmp_path / "ledger.jsonl")


def test_import_writes_good_rows_and_tells_bad_ones_with_line_column_and_way_out(
    made: MadeFile, ledger: PaymentLedger
) -> None:
    """Good rows go on; every bad one stands in the file of rejects, in the file's order."""
    report = run_import(made, ledger)
    verify_ledger(made, ledger)
    assert counts(report) == {
        "written": len(made.good) + len(made.reversals),
        "rejected": len(made.bad),
    }
    rejects = rejects_of(made)
    assert [(int(row["line"]), row["column"]) for row in rejects] == sorted(made.bad.items())
    assert all(row["rule"] and row["way_out"] and row["refused_by"] == "file" for row in rejects)
    assert report.rejects is not None


def test_import_report_reconciles_with_the_file_in_rows_and_paisa(
    made: MadeFile, ledger: PaymentLedger
) -> None:
    """Read = rejected + good; good = written + already there + refused: in rows and in money."""
    refused = [each for each in made.good if each not in made.reversals][5:8]
    ledger.refused.update(refused)
    tally = run_import(made, ledger).tally
    assert tally.read_rows == len(made.good) + len(made.reversals) + len(made.bad)
    assert tally.rows[Fate.REFUSED] == 3
    assert tally.paisa[Fate.REFUSED] == sum(made.good[reference] for reference in refused)
    good_paisa = tally.read_paisa - tally.paisa[Fate.REJECTED]
    assert good_paisa == sum(made.good.values())
    assert tally.paisa[Fate.WRITTEN] == good_paisa - tally.paisa[Fate.REFUSED]
    by_contract = [row for row in rejects_of(made) if row["refused_by"] == "contract"]
    assert [row["reference"] for row in by_contract] == refused
    assert by_contract[0]["rule"].endswith("is known with other content")
    assert by_contract[0]["way_out"] == "use another reference"


def test_import_of_the_same_file_again_changes_nothing(
    made: MadeFile, ledger: PaymentLedger
) -> None:
    """The second run finds everything there."""
    run_import(made, ledger)
    before = ledger.entries()
    report = run_import(made, ledger)
    assert ledger.entries() == before
    assert counts(report) == {
        "already_there": len(made.good) + len(made.reversals),
        "rejected": len(made.bad),
    }


def test_dry_run_sends_nothing_and_leaves_the_same_rejects(
    made: MadeFile, ledger: PaymentLedger
) -> None:
    """Every row is checked; the ledger is not asked, no progress is kept."""
    report = run_import(made, None)
    dry = rejects_of(made)
    assert counts(report) == {
        "checked": len(made.good) + len(made.reversals),
        "rejected": len(made.bad),
    }
    assert report.dry_run
    assert not list(made.path.parent.glob("*progress*"))
    run_import(made, ledger)
    assert rejects_of(made) == dry


def test_file_of_good_rows_leaves_no_file_of_rejects(tmp_path: Path, ledger: PaymentLedger) -> None:
    """No rejects, no file; an older one is gone too."""
    made = make_file(tmp_path / "p.csv", 20, bad_every=0)
    stale = made.path.with_name("p.csv.rejects.csv")
    stale.write_text("of yesterday")
    report = run_import(made, ledger)
    assert report.rejects is None
    assert not stale.exists()


def test_interrupted_import_goes_on_where_it_stood(
    made: MadeFile, ledger: PaymentLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ledger that goes away ends the run; the next one sends only what is not settled."""
    monkeypatch.setattr(loader, "_CHECKPOINT_ROWS", 4)
    ledger.fail_at[8] = Unavailable("the gateway is away")
    with pytest.raises(Unavailable):
        run_import(made, ledger)
    sent = sum(count for _, count in ledger.submissions)
    report = run_import(made, ledger)
    verify_ledger(made, ledger)
    assert report.resumed_at > 2
    again = sum(count for _, count in ledger.submissions) - sent
    assert again < len(made.good) + len(made.reversals)
    assert [int(row["line"]) for row in rejects_of(made)] == sorted(made.bad)
    assert report.tally.read_rows == len(made.good) + len(made.reversals) + len(made.bad)
    assert not list(made.path.parent.glob("*progress*"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda made: made.path.write_text(made.path.read_text() + "\n"), "another one now"),
        (lambda made: (made.path.parent / "ledger.jsonl").unlink(), "does not hold"),
        (lambda made: damage(made, line=7, offset=11), "not between two rows"),
        (lambda made: damage(made, job="payments/OtherMSP/0"), "others now"),
    ],
    ids=["file", "ledger", "position", "job"],
)
def test_interrupted_import_begins_anew_where_the_world_has_changed(
    made: MadeFile, ledger: PaymentLedger, change: Callable[[MadeFile], Any], reason: str
) -> None:
    """Another file, ledger, job or position: the checkpoint is not believed, the report says so."""
    ledger.fail_at[9] = Unavailable("the gateway is away")
    with pytest.raises(Unavailable):
        run_import(made, ledger)
    change(made)
    report = run_import(made, ledger)
    verify_ledger(made, ledger)
    assert report.resumed_at == 0
    assert reason in report.note
    assert report.tally.read_rows == len(made.good) + len(made.reversals) + len(made.bad)


def damage(made: MadeFile, **changes: Any) -> None:
    """Change something in the progress file."""
    (path,) = made.path.parent.glob("*.progress.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_progress_file_that_is_none_is_said_and_not_overwritten(
    made: MadeFile, ledger: PaymentLedger
) -> None:
    """A file of that name which we did not write stops the run."""
    path = made.path.with_name("payments.csv.progress.json")
    path.write_text("{}")
    with pytest.raises(FileRefused, match="remove it to begin anew"):
        run_import(made, ledger)
    assert path.read_text() == "{}"


def test_dry_run_beside_an_interrupted_import_is_refused(
    made: MadeFile, ledger: PaymentLedger
) -> None:
    """It would overwrite rejects that the interrupted run still needs."""
    ledger.fail_at[9] = Unavailable("the gateway is away")
    with pytest.raises(Unavailable):
        run_import(made, ledger)
    with pytest.raises(FileRefused, match="interrupted"):
        run_import(made, None)


def test_second_import_of_a_file_at_the_same_time_is_refused(
    made: MadeFile, ledger: PaymentLedger
) -> None:
    """Two runs would fight over progress and rejects."""

    class Meanwhile(PaymentLedger):
        async def submit(self, *arguments: Any) -> Any:
            with pytest.raises(FileRefused, match="another run"):
                await Import(made.path, PaymentsJob("BankMSP", ColumnMapping()), ledger).run()
            return await super().submit(*arguments)

    run_import(made, Meanwhile(made.path.parent / "ledger.jsonl"))
    verify_ledger(made, ledger)


def test_file_that_changes_while_it_is_imported_is_noticed(
    made: MadeFile, ledger: PaymentLedger
) -> None:
    """What was read may not be what stands there now."""

    class Growing(PaymentLedger):
        async def submit(self, *arguments: Any) -> Any:
            with made.path.open("a") as file:
                file.write("PAY-999,AG-1,1.00,2026-04-01,ibft,,,\n")
            return await super().submit(*arguments)

    with pytest.raises(FileRefused, match="was changed"):
        run_import(made, Growing(made.path.parent / "ledger.jsonl"))


# ---- kill -9 at every step ------------------------------------------------------------------


def test_import_killed_at_any_step_changes_nothing_twice_and_loses_nothing(tmp_path: Path) -> None:
    """After kill -9 at each step in turn, the next run ends with everything once and sums even."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.killed_imports", str(tmp_path)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    killed = sorted(tmp_path.iterdir(), key=lambda folder: int(folder.name))
    assert len(killed) > 30
    for folder in killed:
        made = killed_imports.made_in(folder)
        ledger = PaymentLedger(folder / "ledger.jsonl")
        report = run_import(made, ledger)
        verify_ledger(made, ledger)
        assert report.tally.read_rows == len(made.good) + len(made.reversals) + len(made.bad)
        assert report.tally.rows[Fate.REJECTED] == len(made.bad)
        assert [int(row["line"]) for row in rejects_of(made)] == sorted(made.bad), folder.name
        assert not list(folder.glob("*progress*"))


# ---- memory and sums ------------------------------------------------------------------------


def test_import_needs_the_same_memory_for_ten_times_the_rows(tmp_path: Path) -> None:
    """Rows are settled and forgotten: memory does not follow the length of the file."""

    class Nothing(PaymentLedger):
        async def submit(self, *arguments: Any) -> Any:
            from clients.files.ports import RecordVerdict

            return [RecordVerdict(True, True, "", "", "t")] * len(arguments[1])

    def peak(rows: int) -> int:
        path = tmp_path / f"{rows}.csv"
        with path.open("w") as file:
            file.write("payment_ref,agreement_ref,amount_pkr,paid_on,channel\n")
            for number in range(rows):
                file.write(f"P-{number},AG-{number % 999},12.00,2026-04-01,ibft\n")
        job = PaymentsJob("BankMSP", ColumnMapping())
        tracemalloc.start()
        try:
            asyncio.run(Import(path, job, Nothing(tmp_path / "l"), batch=50).run())
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(1_000)  # caches fill
    small, large = peak(1_000), peak(8_000)
    assert large < small * 1.5


def test_tally_whose_sums_do_not_hold_is_fatal() -> None:
    """A row that is read and not settled, or settled twice, is our mistake and is said."""
    tally = Tally()
    tally.count(Fate.WRITTEN, 100)
    tally.verify_sums(Seen(1, 100))
    for seen in (Seen(2, 100), Seen(1, 101)):
        with pytest.raises(TallyBroken):
            tally.verify_sums(seen)
    assert Tally.decode(json.loads(json.dumps(tally.encode()))) == tally


# ---- files beside ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("columns = 3", r"must be a section, \[columns\]"),
        ("[colums]", "unknown entries: colums"),
        ('[formats]\ntime = "x"', "unknown entries: time"),
        ('[formats]\ndecimal = ","', "are both ','"),
        ('[formats]\ndelimiter = ";;"', "must be one character"),
        ("[columns", "not TOML"),
    ],
)
def test_mapping_that_cannot_be_meant_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """A mapping is refused with its file, the entry and what would be right."""
    path = tmp_path / "mapping.toml"
    path.write_text(text)
    with pytest.raises(FileRefused, match=message):
        load_mapping(path)


def test_file_of_another_bank_is_imported_through_its_mapping(
    tmp_path: Path, ledger: PaymentLedger
) -> None:
    """Byte order mark, CRLF, semicolons, other names and numbers: the same payments."""
    path = tmp_path / "bank.csv"
    path.write_bytes(
        b"\xef\xbb\xbfVoucher;Contract No;Amount;Date\r\n"
        b'V/1;AG-1;"1.234,50";01.04.2026\r\nV/2;AG-2;7;02.04.2026\r\n'
    )
    mapping = tmp_path / "bank.toml"
    mapping.write_text(
        '[columns]\npayment_ref = "Voucher"\nagreement_ref = "contract no"\n'
        'amount_pkr = "Amount"\npaid_on = "Date"\n[constants]\nchannel = "branch"\n'
        '[formats]\ndate = "%d.%m.%Y"\ndelimiter = ";"\nthousands = "."\ndecimal = ","\n'
    )
    report = run_import(MadeFile(path), ledger, load_mapping(mapping))
    assert {e["reference"]: e["paisa"] for e in ledger.entries()} == {"V/1": 123450, "V/2": 700}
    assert report.rejects is None


def test_file_whose_header_lacks_a_column_is_refused_before_anything_is_sent(
    tmp_path: Path, ledger: PaymentLedger
) -> None:
    """A file that is none of ours changes nothing."""
    path = tmp_path / "other.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(FileRefused, match="lacks payment_ref"):
        run_import(MadeFile(path), ledger)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["other.csv"]


def test_keys_are_read_from_a_file_of_their_owner_only(tmp_path: Path) -> None:
    """Rings for all members and for lenders; a file that others can read is refused."""
    path = tmp_path / "pseudonym-keys.toml"
    secret, other = "ab" * 32, "cd" * 32
    path.write_text(
        f'[[device]]\nid = "d2"\nsecret = "{secret}"\n[[device]]\nid = "d1"\nsecret = "{other}"\n'
        f'[[lender."Bank.MSP"]]\nid = "b1"\nsecret = "{other}"\n'
    )
    path.chmod(0o640)
    with pytest.raises(FileRefused, match="chmod 600"):
        load_keyrings(path)
    path.chmod(0o600)
    keyrings = load_keyrings(path)
    assert keyrings.device == Keyring(
        (PseudonymKey("d2", bytes.fromhex(secret)), PseudonymKey("d1", bytes.fromhex(other)))
    )
    assert keyrings.lender("Bank.MSP").keys[0].key_id == "b1"
    assert secret not in repr(keyrings)


@pytest.mark.parametrize(
    "text",
    [
        '[[device]]\nid = "d1"\nsecret = "zz"\n',
        '[[device]]\nid = "d1"\nsecret = "abcd"\n',
        '[[device]]\nsecret = "abcd"\n',
        'device = "abcd"\n',
        'lender = "abcd"\n',
        "",
        "secret = abcd",
        '[other]\nx = "abcd"',
    ],
)
def test_keys_that_are_none_are_refused_without_being_shown(tmp_path: Path, text: str) -> None:
    """A mistake in the file is named by its place; nothing of a secret is repeated."""
    path = tmp_path / "pseudonym-keys.toml"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(FileRefused) as raised:
        load_keyrings(path)
    assert "abcd" not in str(raised.value)
