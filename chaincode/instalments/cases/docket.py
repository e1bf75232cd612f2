"""The docket: every case that one transaction is about, read together, changed together.

    docket/<agreement>   in `enforcement`: {"case": id of the agreement's latest case, "number": n}

A payment reads one docket key an agreement, and more only where there is a case. A docket reads
both namespaces and writes one: that of the contract it works for. A transaction does not see its
own writes, so records of one list that meet in one case meet in the docket's working copies.

The roster and the policy versions are read when a case is met, not before: they hardly ever change.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from chaincode.contract import Context, ReadOnlyStub, Stub

from .. import members, policy, records
from ..book import position as book
from ..book.bulk import named
from ..book.position import Position
from ..members import Roster
from ..policy import Policies
from ..verdicts import RuleBroken
from . import case as cases
from . import index, outcome
from .case import BlockOrder, CaseRecord, Receipts
from .clock import Moment
from .outcome import Ending, HoldBook, Release
from .state import CaseFile, CaseState, state_of, trigger_holds

ENFORCEMENT: Final = "enforcement"
INSTALMENTS: Final = "instalments"


def docket_key(agreement: str) -> str:
    """Return the key that tells an agreement's latest case."""
    return f"docket/{agreement}"


class Docket:
    """Working copies of some cases.

    Attributes:
        moment: of the transaction.
        enforcement, instalments: readers of the two namespaces.
        receipts_of: the one executor whose block receipts are read; "": all of them.
    """

    def __init__(
        self,
        stub: Stub,
        enforcement: ReadOnlyStub,
        instalments: ReadOnlyStub,
        moment: Moment,
        receipts_of: str = "",
    ) -> None:
        self.moment = moment
        self.enforcement = enforcement
        self.instalments = instalments
        self.stub = stub
        self.receipts_of = receipts_of
        self._roster: Roster | None = None
        self._policies: Policies | None = None
        self._latest: dict[str, str | None] = {}
        self._files: dict[str, CaseFile] = {}
        self._holds: dict[str, HoldBook] = {}
        self._positions: dict[str, Position | None] = {}

    @classmethod
    def of_enforcement(cls, ctx: Context, receipts_of: str = "") -> Docket:
        """Return an empty docket for the contract `enforcement`."""
        reader = ctx.stub.reading(INSTALMENTS)
        return cls(ctx.stub, ctx.stub, reader, Moment.of(ctx), receipts_of)

    @classmethod
    def of_instalments(cls, ctx: Context) -> Docket:
        """Return an empty docket for the contract `instalments`."""
        return cls(ctx.stub, ctx.stub.reading(ENFORCEMENT), ctx.stub, Moment.of(ctx))

    # ---- what the consortium decided
    @property
    def roster(self) -> Roster:
        """The members."""
        if self._roster is None:
            self._roster = members.load(self.enforcement)
        return self._roster

    @property
    def policies(self) -> Policies:
        """All policy versions."""
        if self._policies is None:
            self._policies = policy.load(self.enforcement)
        return self._policies

    # ---- reading
    def load_agreements(self, agreements: Iterable[str]) -> None:
        """Read the latest case of each agreement, where there is one."""
        wanted = [name for name in dict.fromkeys(agreements) if name not in self._latest]
        if not wanted:
            return
        found = self.enforcement.get_states([docket_key(name) for name in wanted])
        latest: list[str] = []
        for name, raw in zip(wanted, found, strict=True):
            case = None if raw is None else str(records.decode(raw)["case"])
            self._latest[name] = case
            if case is not None:
                latest.append(case)
        self.load_cases(latest)

    def load_cases(self, case_ids: Iterable[str]) -> None:
        """Read cases by their ids; those that do not exist are left out."""
        wanted = [name for name in dict.fromkeys(case_ids) if name not in self._files]
        if not wanted:
            return
        raws = self.enforcement.get_states([cases.case_key(name) for name in wanted])
        found = [cases.decode_case(raw) for raw in raws if raw is not None]
        self.load_holds([record.agreement for record in found])
        endings = self.instalments.get_states([outcome.ending_key(record.case) for record in found])
        receipts = self._receipts([order for record in found for order in record.orders])
        for record, raw in zip(found, endings, strict=True):
            ending = outcome.decode_ending(raw)
            self._files[record.case] = self._compiled(record, receipts, ending)

    def _receipts(self, orders: Sequence[BlockOrder]) -> dict[str, tuple[Receipts, ...]]:
        asked = [
            (order.order, executor)
            for order in orders
            for executor in order.executors
            if self.receipts_of in ("", executor)
        ]
        raws = self.enforcement.get_states([cases.receipts_key(*pair) for pair in asked])
        found: dict[str, tuple[Receipts, ...]] = {}
        for (order, _), raw in zip(asked, raws, strict=True):
            if raw is not None:
                found[order] = (*found.get(order, ()), cases.decode_receipts(raw))
        return found

    def _compiled(
        self,
        record: CaseRecord,
        receipts: dict[str, tuple[Receipts, ...]],
        ending: Ending | None,
    ) -> CaseFile:
        day, policies = self.moment.day, self.policies
        terms = policies.terms(record.policy, record.triggered_on, day)
        eased = policies.eased_triggers(record.policy, record.triggered_on, day)
        releases: list[Release] = []
        if ending is not None and ending.orders:
            raws = self.instalments.get_states(list(map(outcome.release_key, ending.orders)))
            releases = [found for found in map(outcome.decode_release, raws) if found is not None]
        return CaseFile(
            record,
            {order.order: receipts.get(order.order, ()) for order in record.orders},
            self._holds[record.agreement].holds,
            ending,
            tuple(releases),
            terms.policy,
            terms.tier_off_since,
            terms.moratorium_since,
            eased,
            self.roster.left_without_successor(record.lender, day),
            self.find_position(record.agreement) if eased and ending is None else None,
        )

    def load_holds(self, agreements: Iterable[str]) -> None:
        """Read the holds of agreements."""
        wanted = [name for name in dict.fromkeys(agreements) if name not in self._holds]
        if wanted:
            raws = self.instalments.get_states([outcome.holds_key(name) for name in wanted])
            for name, raw in zip(wanted, raws, strict=True):
                self._holds[name] = outcome.decode_holds(name, raw)

    def load_positions(self, agreements: Iterable[str]) -> None:
        """Read agreements with their money."""
        wanted = [name for name in dict.fromkeys(agreements) if name not in self._positions]
        if wanted:
            found = book.load(self.instalments, wanted)
            self._positions.update(zip(wanted, found, strict=True))

    # ---- asking
    def latest(self, agreement: str) -> CaseFile | None:
        """Return the latest case of an agreement, None without one."""
        self.load_agreements((agreement,))
        case = self._latest[agreement]
        return None if case is None else self._files[case]

    def find(self, case: str) -> CaseFile | None:
        """Return a case, None where there is none of that id."""
        if case not in self._files:
            cases.agreement_of(case)
            self.load_cases((case,))
        return self._files.get(case)

    def find_loaded(self, case: str) -> CaseFile | None:
        """Return a case that was read, None where there is none of that id."""
        return self._files.get(case)

    def file(self, case: str) -> CaseFile:
        """Return a case.

        Raises:
            RuleBroken: there is none of that id.
        """
        found = self.find(case)
        if found is None:
            raise RuleBroken(f"case {case}", "does not exist", 4, "see CaseOf")
        return found

    def state(self, case: str) -> CaseState:
        """Return the state of a case at the moment of the transaction."""
        return state_of(self.file(case), self.moment)

    def holds(self, agreement: str) -> HoldBook:
        """Return the holds of an agreement."""
        self.load_holds((agreement,))
        return self._holds[agreement]

    def find_position(self, agreement: str) -> Position | None:
        """Return an agreement with its money, None where there is none."""
        self.load_positions((agreement,))
        return self._positions[agreement]

    def position(self, agreement: str) -> Position:
        """Return an agreement with its money.

        Raises:
            RuleBroken: there is none of that id.
        """
        found = self.find_position(agreement)
        if found is None:
            raise RuleBroken(
                named("agreement", agreement), "is not known", 2, "open it first, or correct its id"
            )
        return found

    def has_trigger(self, file: CaseFile) -> bool:
        """Say whether a case's trigger holds at the moment of the transaction (rulebook 4)."""
        position = self.position(file.record.agreement)
        return trigger_holds(
            position, self.moment.day, file.policy.trigger_days_past_due, file.held_ever
        )

    def check_lender(self, file: CaseFile, msp_id: str) -> None:
        """Check that a member stands for the lender of a case.

        Raises:
            RuleBroken: it does not.
        """
        record = file.record
        if not self.roster.acts_for(msp_id, record.lender, self.moment.day):
            raise RuleBroken(
                f"case {record.case}", f"is not {msp_id}'s", 4, f"its lender is {record.lender}"
            )

    # ---- writing, in `enforcement`
    def open_case(self, record: CaseRecord) -> None:
        """Put a new case on the docket."""
        entry = {"case": record.case, "number": record.number}
        self.stub.put_state(docket_key(record.agreement), records.encode(entry))
        self._latest[record.agreement] = record.case
        self._files[record.case] = self._compiled(record, {}, None)
        self.put_case(record)

    def put_case(self, record: CaseRecord) -> None:
        """Write a case and its places in the index of what comes next."""
        file = self._files[record.case]
        record = index.moved(self.stub, record, file)
        orders = {order.order: file.receipts.get(order.order, ()) for order in record.orders}
        self._files[record.case] = replace(file, record=record, receipts=orders)
        self.stub.put_state(cases.case_key(record.case), cases.encode(record))

    def put_receipts(self, case: str, receipts: Receipts) -> None:
        """Write what an executor reported."""
        file = self._files[case]
        others = [
            each
            for each in file.receipts.get(receipts.order, ())
            if each.executor != receipts.executor
        ]
        changed = {**file.receipts, receipts.order: (*others, receipts)}
        self._files[case] = replace(file, receipts=changed)
        key = cases.receipts_key(receipts.order, receipts.executor)
        self.stub.put_state(key, cases.encode(receipts))

    # ---- writing, in `instalments`
    def put_holds(self, holds: HoldBook) -> None:
        """Write the holds of an agreement."""
        self._holds[holds.agreement] = holds
        for case, file in self._files.items():
            if file.record.agreement == holds.agreement:
                self._files[case] = replace(file, holds=holds.holds)
        self.stub.put_state(outcome.holds_key(holds.agreement), outcome.encode(holds))

    def put_ending(self, ending: Ending, releases: tuple[Release, ...]) -> None:
        """Write how a case ended, with its release orders."""
        file = self._files[ending.case]
        self._files[ending.case] = replace(file, ending=ending, releases=releases)
        self.stub.put_state(outcome.ending_key(ending.case), outcome.encode(ending))
        index.add_ended(self.stub, ending)
        for release in releases:
            self.stub.put_state(outcome.release_key(release.order), outcome.encode(release))
            if not release.is_done:
                index.add_release(self.stub, release)

    def put_release(self, release: Release, *, was_done: bool) -> None:
        """Write a release whose receipts changed, and its place in the index of open ones."""
        file = self._files[release.case]
        changed = tuple(
            [release if each.order == release.order else each for each in file.releases]
        )
        self._files[release.case] = replace(file, releases=changed)
        self.stub.put_state(outcome.release_key(release.order), outcome.encode(release))
        if release.is_done and not was_done:
            index.remove_release(self.stub, release)
        elif was_done and not release.is_done:
            index.add_release(self.stub, release)

    def with_position(self, position: Position) -> None:
        """Take in what the transaction made of an agreement."""
        self._positions[position.agreement] = position
        case = self._latest.get(position.agreement)
        if case is not None and self._files[case].position is not None:
            self._files[case] = replace(self._files[case], position=position)
