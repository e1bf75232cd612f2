"""A founded consortium on a ledger in memory, and short ways to fill its book.

Four members as everywhere: BankMSP, OperatorMSP, MakerMSP, PtaMSP, each a group of its own, and
`BankPayMSP`, an affiliate of the bank. Members, policy and ledger day are put there by the modules
that own their bytes; everything else goes through the contract's functions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

from chaincode.contract import Creator
from chaincode.instalments import ledger_day, policy, records
from chaincode.instalments.contracts import InstalmentsContract
from chaincode.instalments.members import Member, Roster
from chaincode.instalments.policy import Policy
from ledger.state.ports import VALIDATION_PARAMETER, VersionedValue
from ledger.state.version import Version
from ledger.transactions.private import hash_key
from ledger.transactions.rwset import decode_metadata
from tests.support.memory_state import ContractLedger, Outcome

OPENED = "2026-03-05"
TAC = "35209900"
MEMBERS = (
    Member("BankMSP", "bank", "bank"),
    Member("BankPayMSP", "investment_firm", "bank"),
    Member("OperatorMSP", "operator", "operator"),
    Member("MakerMSP", "manufacturer", "maker"),
    Member("PtaMSP", "regulator", "pta"),
)
SALT = "5a" * 16
THREE_EQUAL = [("2026-04-05", 100), ("2026-05-05", 100), ("2026-06-05", 100)]


def officer(msp_id: str, role: str = "lending") -> Creator:
    """Return an officer of a member."""
    return Creator(msp_id, f"{role} of {msp_id}", {"qist.role": role})


BANK, BANK_PAY, OPERATOR, MAKER, PTA = (officer(member.msp_id) for member in MEMBERS)


def pseudonym(name: str, key_id: str = "k1") -> str:
    """Return a pseudonym that stands for *name*."""
    return f"{key_id}:{hashlib.sha256(name.encode()).hexdigest()}"


def salted(name: str) -> str:
    """Return a hash that stands for a document."""
    return hashlib.sha256(name.encode()).hexdigest()


class BookLedger(ContractLedger):
    """The contract `instalments` in a founded consortium; the day moves with `at`."""

    def __init__(self, roster: Sequence[Member] = MEMBERS, rules: Policy | None = None) -> None:
        super().__init__([InstalmentsContract()], BANK)
        self.state.put(
            "_lifecycle", "namespaces/fields/enforcement/Sequence", b"\x08\x01", Version(1, 9)
        )
        self.seed("roster", records.encode(Roster(1, roster).plain()))
        version = policy.Version(1, date(2026, 1, 1), rules or Policy())
        self.seed(policy.POLICIES_KEY, policy.encode_list((version,)))
        self.seed(policy.policy_key(1), records.encode(version.plain()))
        self.today(OPENED)

    def seed(self, key: str, value: bytes) -> None:
        """Put a key of `enforcement` there."""
        self.state.put("enforcement", key, value, Version(self.state.height, 0))
        self.state.height += 1

    def today(self, day: str | date) -> None:
        """Move the time of the next proposals and the ledger day."""
        self.at(day)
        chosen = date.fromisoformat(day) if isinstance(day, str) else day
        self.seed(ledger_day.LEDGER_DAY_KEY, ledger_day.encode_day(chosen))

    # ---- calls
    def call(
        self,
        function: str,
        argument: Any,
        by: Creator | None = None,
        transient: dict[str, Any] | None = None,
    ) -> Outcome:
        """Submit one function of one argument."""
        return self.submit("instalments", function, argument, creator=by, transient=transient)

    def verdicts(self, function: str, records: Any, by: Creator | None = None, **transient: Any):
        """Submit a bulk and return its verdicts; the transaction itself must pass."""
        outcome = self.call(function, records, by, transient)
        assert outcome.valid, outcome.message
        return outcome.value["verdicts"]

    def ask(self, function: str, *args: Any) -> Any:
        """Return what a query answers; it must answer."""
        outcome = self.evaluate("instalments", function, *args)
        assert outcome.status == 200, outcome.message
        return outcome.value

    # ---- filling the book
    def register(self, *names: str, imeis: int = 2) -> None:
        """Register devices by name, each with two IMEIs under one key."""
        tac = {"tac": TAC, "maker": "Acme", "registrants": ["MakerMSP"]}
        self.verdicts("RegisterTacs", [tac], PTA)
        verdicts = self.verdicts("RegisterDevices", [device(name, imeis) for name in names], MAKER)
        assert all(verdict["ok"] for verdict in verdicts), verdicts

    def open(
        self,
        name: str,
        instalments: Sequence[tuple[str, int]] = tuple(THREE_EQUAL),
        by: Creator | None = None,
        *,
        register: bool = True,
        **changes: Any,
    ) -> dict[str, Any]:
        """Open agreement *name* about the device of that name and return the verdict."""
        if register:
            self.register(name)
        terms = {"terms": [terms_of(instalments)]}
        records = [agreement(name, **changes)]
        return self.verdicts("OpenAgreements", records, by, **terms)[0]

    def pay(self, name: str, amount: int, paid_on: str, by: Creator | None = None, **changes: Any):
        """Post one payment and return the verdict."""
        record = payment(name, paid_on, **changes)
        return self.verdicts("PostPayments", [record], by, amounts=[amount])[0]

    def standing(self, name: str, as_of: str = "") -> dict[str, Any]:
        """Return the standing of an agreement."""
        return self.ask("Standing", name, as_of)

    def private(self, collection: str) -> dict[str, VersionedValue]:
        """The private keys of a collection."""
        return dict(self.state.range_private("instalments", collection, "", ""))

    def policy_of(self, collection: str, key: str) -> bytes:
        """The key-level policy of a private key, b"" without one."""
        hashed = self.state.get_hashed("instalments", collection, hash_key(key))
        assert hashed is not None
        found = decode_metadata(hashed.metadata) if hashed.metadata else {}
        return found.get(VALIDATION_PARAMETER, b"")

    @property
    def newest_private(self) -> set[str]:
        """The private keys of the bank's terms that the newest block wrote."""
        newest = self.state.height - 1
        found = self.private("terms-BankMSP")
        return {key for key, entry in found.items() if entry.version.block_num == newest}

    @property
    def newest(self) -> set[str]:
        """The keys of `instalments` that the newest block wrote."""
        entries = self.state.range("instalments", "", "")
        newest = self.state.height - 1
        return {key for key, entry in entries if entry.version.block_num == newest}


def device(name: str, imeis: int = 2) -> dict[str, Any]:
    """Return the record of a device."""
    named = [[pseudonym(f"{name}/{place}")] for place in range(imeis)]
    return {"imeis": named, "tac": TAC, "model": "A1", "maker": "Acme", "country": "PK"}


def agreement(name: str, **changes: Any) -> dict[str, Any]:
    """Return the record of an agreement of the bank."""
    return {
        "agreement": name,
        "device": [pseudonym(f"{name}/0")],
        "operator": "OperatorMSP",
        "borrower": pseudonym(f"{name}/borrower"),
        "sim": pseudonym(f"{name}/sim"),
        "contract_type": "conventional",
        "receiving_institutions": ["BankMSP", "OperatorMSP"],
        "consent": {"statement": salted(name), "language": "ur", "block": True},
        "opened_on": OPENED,
        "imported": False,
    } | changes


def terms_of(instalments: Sequence[tuple[str, int]], down: int = 50) -> dict[str, Any]:
    """Return the transient terms of an agreement."""
    return {
        "salt": SALT,
        "price_paisa": sum(amount for _, amount in instalments) + down,
        "down_payment_paisa": down,
        "currency": "PKR",
        "instalments": [{"due": due, "amount_paisa": amount} for due, amount in instalments],
    }


def payment(name: str, paid_on: str, **changes: Any) -> dict[str, Any]:
    """Return the record of a payment; its reference is made of agreement and date."""
    reference = f"P-{name}-{paid_on}"
    return {
        "agreement": name,
        "reference": reference,
        "paid_on": paid_on,
        "channel": "branch",
    } | changes


def days(first: str, count: int) -> list[date]:
    """Return so many days from a date on."""
    start = date.fromisoformat(first)
    return [start + timedelta(days=place) for place in range(count)]
