"""What one more record of a bulk transaction takes, piece by piece, in one process.

    .venv/bin/python tools/bulk_pieces.py [--rounds 20] [--transactions 4] [--against COMMIT]

The benchmark's contract pays 500 agreements a transaction on a ledger in a folder of its own: each
transaction is simulated and marshalled, then a block of some of them is parsed, judged and
committed. The last line is a payment of the consortium's own contract, simulated on a state in
memory. Processor time of this process, microseconds a record, the least of the rounds, so that a
machine that does other work tells nearly the same.

Absent: signatures, policies, ordering, networks; `tools/stages.py` and the benchmark have them.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(os.environ.get("QIST_PIECES_ROOT", Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(ROOT))

from chaincode.contract import Creator  # noqa: E402
from chaincode.simulator import Invocation, SimulationResult, Simulator  # noqa: E402
from ledger.channel import ChannelLedger  # noqa: E402
from ledger.transactions.codes import TxValidationCode  # noqa: E402
from ledger.transactions.parse import parse_transaction  # noqa: E402
from ledger.transactions.rwset import (  # noqa: E402
    KVWrite,
    NamespaceRWSet,
    TxRWSet,
)
from tests.bench.contract.contract import Instalments  # noqa: E402
from tests.support import book_ledger, chain  # noqa: E402
from tests.support.operations import Registry  # noqa: E402

RECORDS = 500
AGREEMENTS = 16 * RECORDS
BOOK_RECORDS = 500
AT_A_TIME = 100
SEQUENCE = KVWrite("namespaces/fields/qist/Sequence", False, b"\x08\x01")


class Pieces:
    """The least that each piece took, in nanoseconds of processor time a record."""

    def __init__(self) -> None:
        self.taken: dict[str, list[float]] = defaultdict(list)

    @contextmanager
    def piece(self, name: str, records: int) -> Iterator[None]:
        """Measure a block of code that is about so many records."""
        began = time.process_time_ns()
        yield
        self.taken[name].append((time.process_time_ns() - began) / records)

    def table(self) -> str:
        """Return a line a piece."""
        return "\n".join(f"{name:<24}{min(each) / 1000:8.2f}" for name, each in self.taken.items())


class Bulk:
    """The benchmark's contract on a ledger of its own."""

    def __init__(self, folder: Path, pieces: Pieces) -> None:
        self.ledger = ChannelLedger.open(folder)
        self.pieces = pieces
        self.simulator = Simulator(Registry(Instalments()))
        self.number = 0
        chain.commit(self.ledger, [chain.make_config_envelope(0)])
        definition = TxRWSet((NamespaceRWSet("_lifecycle", writes=(SEQUENCE,)),))
        chain.commit(self.ledger, [chain.make_envelope(definition, b"definition")])
        for start in range(0, AGREEMENTS, RECORDS):
            ids = [f"A{each:08}" for each in range(start, start + RECORDS)]
            self.commit([self.envelope("Open", ids)])
        pieces.taken.clear()

    def envelope(self, function: str, arguments: list[str]) -> bytes:
        """Simulate a call and return its transaction."""
        self.number += 1
        invocation = Invocation(
            channel_id=chain.CHANNEL,
            tx_id=hashlib.sha256(b"%d" % self.number).hexdigest(),
            chaincode="qist",
            args=tuple(word.encode() for word in (function, *arguments)),
            creator=Creator("BankMSP", "a caller"),
            timestamp=datetime(2026, 3, 1, tzinfo=UTC),
        )
        with self.ledger.snapshot() as state, self.pieces.piece("simulate", RECORDS):
            result: SimulationResult = self.simulator.simulate(state, invocation)
        assert result.status == 200, result.message
        return chain.make_envelope(result.sets, b"%d" % self.number, chaincode="qist")

    def commit(self, envelopes: list[bytes]) -> None:
        """Take the transactions of a block apart, judge them, and write them."""
        records = RECORDS * len(envelopes)
        with self.pieces.piece("parse", records):
            transactions = [parse_transaction(raw) for raw in envelopes]
        block = chain.next_block(self.ledger, envelopes)
        codes = [TxValidationCode.VALID] * len(envelopes)
        with self.pieces.piece("judge", records):
            prepared = self.ledger.prepare(block, transactions, codes)
        assert prepared.codes == tuple(codes), prepared.codes
        with self.pieces.piece("write", records):
            self.ledger.commit(prepared)

    def pay(self, rounds: int, transactions: int) -> None:
        """Pay agreements in turn; no agreement twice in a block."""
        for number in range(rounds):
            envelopes = []
            for place in range(transactions):
                start = (number * transactions + place) * RECORDS % AGREEMENTS
                ids = [f"A{each:08}" for each in range(start, start + RECORDS)]
                words = [word for each in ids for word in (each, f"r.{number}", "137")]
                envelopes.append(self.envelope("Pay", words))
            self.commit(envelopes)


def pay_in_the_book(pieces: Pieces, rounds: int) -> None:
    """Pay agreements by the consortium's own contract, a transaction after another."""
    book = book_ledger.BookLedger()
    # No name or reference may look like the number of a card.
    letters = str.maketrans("0123456789", "ABCDEFGHIJ")
    names = [f"N-{each:04}".translate(letters) for each in range(BOOK_RECORDS)]
    schedule = [("2026-04-05", 10**6), ("2026-05-05", 10**6), ("2026-06-05", 10**6)]
    for start in range(0, len(names), AT_A_TIME):
        some = names[start : start + AT_A_TIME]
        book.register(*some)
        terms: Any = [book_ledger.terms_of(schedule)] * len(some)
        records = [book_ledger.agreement(name) for name in some]
        _all_ok(book.verdicts("OpenAgreements", records, None, terms=terms))
    book.today("2026-04-01")
    for number in range(rounds):
        references = [f"R-{number:02}-{name}".translate(letters) for name in names]
        payments = [
            book_ledger.payment(name, f"2026-03-{5 + number % 20:02}", reference=reference)
            for name, reference in zip(names, references, strict=True)
        ]
        with pieces.piece("simulate, own contract", len(names)):
            simulated = book.simulate(
                "instalments", "PostPayments", payments, transient={"amounts": [100] * len(names)}
            )
        _all_ok(book.commit([simulated])[0].value["verdicts"])


def _all_ok(verdicts: list[dict[str, Any]]) -> None:
    refused = [each for each in verdicts if not each["ok"]]
    assert not refused, refused[0]


def measure(given: argparse.Namespace) -> str:
    """Return the table of this state."""
    pieces = Pieces()
    with tempfile.TemporaryDirectory(prefix="bulk-") as folder:
        bulk = Bulk(Path(folder) / "ledger", pieces)
        bulk.pay(given.rounds, given.transactions)
        bulk.ledger.close()
    pay_in_the_book(pieces, min(given.rounds, 20))
    return pieces.table()


def compare(given: argparse.Namespace) -> str:
    """Return the tables of a commit and of this state, measured one after the other, twice."""
    tables = []
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(
            ["git", "-C", str(ROOT), "archive", given.against], check=True, capture_output=True
        ).stdout
        subprocess.run(["tar", "-x", "-C", folder], check=True, input=archive)
        words = ["--rounds", str(given.rounds), "--transactions", str(given.transactions)]
        for name, root in 2 * ((given.against, folder), ("here", str(ROOT))):
            done = subprocess.run(
                [sys.executable, "-P", __file__, *words],
                env={**os.environ, "QIST_PIECES_ROOT": root},
                check=True, capture_output=True, text=True,
            )  # fmt: skip
            tables.append(f"{name}\n{done.stdout}")
    return "\n".join(tables)


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--transactions", type=int, default=4, help="of a block, at most 16")
    parser.add_argument("--against", help="a commit, measured in turns with this state")
    given = parser.parse_args()
    print(compare(given) if given.against else measure(given))


if __name__ == "__main__":
    main()
