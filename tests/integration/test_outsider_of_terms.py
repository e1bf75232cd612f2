"""What an outsider's node of the consortium holds: no amount and no number of a person, anywhere.

The amounts are unusual, so that each that stands somewhere is found; the same search finds them in
the collections of the lender's node.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from chaincode.instalments import records
from chaincode.instalments.calendar import add_months, pkt_date
from chaincode.instalments.contracts import EnforcementContract, InstalmentsContract
from chaincode.instalments.identifiers import imei_with_check_digit
from ledger.channel import ChannelLedger
from ledger.transactions.parse import parse_transaction
from ledger.transactions.private import decode_private_rwset
from tests.support.local_network import LocalNetwork, local_network, until
from tests.support.member_commands import COLLECTIONS, FACTS, Commands, found
from tests.support.member_files import AGREEMENT_COLUMNS, PAYMENT_COLUMNS

LENDER, OUTSIDER, REGULATOR = "BankMSP", "MakerMSP", "PtaMSP"
ORDERER_FIRST = ("OperatorMSP", LENDER, OUTSIDER, REGULATOR)
PRICE, DOWN = 39_987_137, 13_579_137
INSTALMENT = 8_802_600
LAST = PRICE - DOWN - 2 * INSTALMENT
PAID = (INSTALMENT, 12_345_679)
IMEIS = [imei_with_check_digit(f"3520990071945{which}") for which in (1, 2)]
CNIC, MSISDN = "82203-7194533-1", "+923007194533"
AMOUNTS = {PRICE, DOWN, INSTALMENT, LAST, *PAID, sum(PAID), PRICE - DOWN}
NUMBERS = [*(imei[:14] for imei in IMEIS), CNIC, CNIC.replace("-", ""), MSISDN[1:], MSISDN[3:]]
NAMES = ("terms-BankMSP", "identifiers-BankMSP")


def rupees(paisa: int) -> str:
    return f"{paisa // 100}.{paisa % 100:02}"


def write_files(folder: Path) -> tuple[Path, Path]:
    """One agreement and its payments."""
    today = pkt_date(datetime.now(UTC))
    opened = today - timedelta(days=2)
    agreements, payments = folder / "agreements.csv", folder / "payments.csv"
    terms = [rupees(PRICE), rupees(DOWN), "3", "monthly", add_months(today, 1), opened, "K-1"]
    row = ["AG-1", LENDER, CNIC, MSISDN, *IMEIS, "35209900", "Model A", "murabaha", *terms]
    paid = [
        [f"P-{place}", "AG-1", rupees(paisa), today, "branch", ""]
        for place, paisa in enumerate(PAID)
    ]
    for path, columns, rows in (
        (agreements, AGREEMENT_COLUMNS, [row]),
        (payments, PAYMENT_COLUMNS, paid),
    ):
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([columns, *rows])
    return agreements, payments


def found_in(raw: bytes) -> set[str]:
    """What of it stands in some bytes: amounts as digits, in rupees, as 64 bits; numbers."""
    digits = {int(run) for run in re.findall(rb"[0-9]+", raw)}
    found_ = {str(amount) for amount in AMOUNTS & digits}
    for amount in AMOUNTS:
        spelled = (rupees(amount).encode(), amount.to_bytes(8, "big"), amount.to_bytes(8, "little"))
        found_ |= {str(amount)} if any(each in raw for each in spelled) else set()
    return found_ | {number for number in NUMBERS if number.encode() in raw}


def hexadecimal(raw: bytes) -> Iterator[str]:
    """Every run of digits that could be a salt: hashes and ids, which everybody reads."""
    for run in re.findall(rb"[0-9a-f]{32,64}", raw):
        yield run.decode()


def public(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every block, every public key with value and metadata, and every file as it lies there."""
    ledger = ChannelLedger.open(folder / "ledger")
    try:
        for block in ledger.blocks():
            yield f"block {block.header.number}", block.encode()
        with ledger.snapshot() as state:
            for namespace in ("instalments", "enforcement", "_lifecycle"):
                for key, entry in state.range(namespace, "", ""):
                    yield f"{namespace} {key}", key.encode() + entry.value + entry.metadata
    finally:
        ledger.close()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield str(path), path.read_bytes()


def private(network: LocalNetwork, msp_id: str) -> dict[str, bytes]:
    """What a running node holds in plain: the private state, and the write sets of blocks."""
    ledger = network.node(msp_id).channel.ledger
    held: dict[str, bytes] = {}
    with ledger.snapshot() as state:
        for name in NAMES:
            for key, entry in state.range_private("instalments", name, "", ""):
                held[f"{name} {key}"] = entry.value
    for number in range(ledger.height):
        for tx_num, writes in ledger.private_data(number).items():
            for each in writes:
                for write in decode_private_rwset(each.rwset).writes:
                    held[f"{number}/{tx_num} {each.collection} {write.key}"] = write.value
    return held


def held_by(network: LocalNetwork, msp_id: str) -> set[str]:
    """Which amounts and numbers a running node holds in plain."""
    return set().union(*map(found_in, private(network, msp_id).values()))


def hashes_in_blocks(folder: Path) -> set[bytes]:
    """The hashes of all values that were written to the lender's collections."""
    ledger = ChannelLedger.open(folder / "ledger")
    try:
        return {
            write.value_hash
            for block in ledger.blocks()
            for raw in block.data
            if (parsed := parse_transaction(raw)).rwset is not None
            for namespace in parsed.rwset.namespaces
            for touched in namespace.collections
            if touched.collection in NAMES
            for write in touched.hashed_writes
        }
    finally:
        ledger.close()


def guesses(value: bytes, known: set[str]) -> Iterator[bytes]:
    """What a rival would hash who knew everything of a value but its salt."""
    plain = json.loads(value)
    for salt in ("", "0" * 32, "f" * 32, *known):
        yield records.encode(plain | {"salt": salt})
    del plain["salt"]
    yield records.encode(plain)


async def live(network: LocalNetwork, commands: Commands, folder: Path) -> None:
    """Sell a phone and receive payments; the last one while the lender's node is down."""
    agreements, payments = write_files(folder)
    for msp_id, step in (
        (REGULATOR, "tacs"),
        (OUTSIDER, "devices"),
        (LENDER, "open"),
        ("OperatorMSP", "confirm"),
    ):
        words = ("import", "agreements", str(agreements), *FACTS, "--step", step)
        await commands.ok(msp_id, "lending", *words)
        await network.settled()
    await network.stop(LENDER)
    await commands.ok("OperatorMSP", "lending", "import", "payments", str(payments))
    await network.settled()
    standing = ("evaluate", "instalments", "Standing", "AG-1", "")
    told = await commands.ok(REGULATOR, "lending", *standing)
    assert told["result"]["paid_paisa"] == sum(PAID)
    told = await commands.ok(OUTSIDER, "lending", *standing)
    assert told["result"]["paid_paisa"] is None
    assert told["result"]["unpaid_instalments"] == 0


async def lender_catches_up(network: LocalNetwork, commands: Commands) -> None:
    """Back again, its node fetches what it missed."""
    await network.start(LENDER)
    await network.settled()
    ledger = network.node(LENDER).channel.ledger
    await until(lambda: not ledger.missing_private(1))
    account = await commands.ok(LENDER, "lending", "evaluate", "instalments", "Payments", "AG-1")
    assert [each["amount_paisa"] for each in account["result"]] == list(PAID)


async def close_and_purge(network: LocalNetwork, commands: Commands, folder: Path) -> None:
    """The rest is paid, the certificate issued, the numbers purged by the lender's word."""
    payments = folder / "rest.csv"
    today = pkt_date(datetime.now(UTC))
    rest = [["P-9", "AG-1", rupees(PRICE - DOWN - sum(PAID)), today, "branch", ""]]
    with payments.open("w", newline="") as file:
        csv.writer(file).writerows([PAYMENT_COLUMNS, *rest])
    await commands.ok(LENDER, "lending", "import", "payments", str(payments))
    await network.settled()
    for function in ("IssueClearance", "PurgeIdentifiers"):
        words = ("submit", "instalments", function, json.dumps([{"agreement": "AG-1"}]))
        done = await commands.ok(LENDER, "lending", *words)
        assert done["result"]["verdicts"][0]["written"], done
        await network.settled()


async def test_outsiders_node_holds_no_amount_and_no_number_of_a_person(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Blocks, state and files of the maker; the lender's collections hold all of it, also what was
    paid to another member while its node was down, and the numbers until they are purged.
    """
    contracts = [InstalmentsContract(), EnforcementContract()]
    async with local_network(
        tmp_path / "network", contracts, members=ORDERER_FIRST, collections=COLLECTIONS
    ) as network:
        commands = Commands(network, capsys)
        await found(commands)
        await network.settled()
        await live(network, commands, tmp_path)
        await lender_catches_up(network, commands)
        outcome, refused = await commands.run(
            OUTSIDER, "lending", "evaluate", "instalments", "Payments", "AG-1"
        )
        assert outcome == 1
        assert not found_in(json.dumps(refused).encode())
        amounts = {str(each) for each in (PRICE, DOWN, INSTALMENT, LAST, *PAID)}
        numbers = {imei[:14] for imei in IMEIS} | {MSISDN[1:]}
        for msp_id in (LENDER, REGULATOR, "OperatorMSP"):
            assert held_by(network, msp_id) >= amounts | numbers, msp_id
            assert CNIC not in held_by(network, msp_id)
        values = private(network, LENDER)
        await close_and_purge(network, commands, tmp_path)
        for msp_id in (LENDER, REGULATOR, "OperatorMSP"):
            assert held_by(network, msp_id) >= amounts, msp_id
            assert not held_by(network, msp_id) & set(NUMBERS), msp_id
        assert private(network, OUTSIDER) == {}
        await network.verify()
    seen = 0
    for place, raw in public(network.members[OUTSIDER].folder):
        seen += 1
        assert not found_in(raw), place
    assert seen > 50
    # A value's hash is there for everybody to try; but for its salt all of it could be guessed.
    outsider = network.members[OUTSIDER].folder
    hashes = hashes_in_blocks(outsider)
    words = {found_[:32] for _, raw in public(outsider) for found_ in hexadecimal(raw)}
    assert len(words) > 10
    assert values
    for place, value in values.items():
        assert hashlib.sha256(value).digest() in hashes, place
        tried = {hashlib.sha256(each).digest() for each in guesses(value, words)}
        assert not tried & hashes, place
