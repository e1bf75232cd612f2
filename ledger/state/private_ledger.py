"""Private data as the ledger of a channel uses them: with a block, behind it, and when it opens.

The order of a commit: ``begin`` makes the block's write sets durable and notes what it purges and
lets expire; the block is stored; the state changes, plain state included; ``finish`` takes what
goes out of the write sets. A crash between any two is made good when the ledger opens: ``replay``
finds the write sets of a stored block, ``recover`` the note.

Absent: asking other members for what is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ledger.blocks.block import Block
from ledger.errors import CorruptionError
from ledger.state.database import ChannelDatabase
from ledger.state.prepared import PreparedBlock
from ledger.state.private import (
    NOTHING,
    BlockPrivate,
    LatePrivate,
    MissingPrivate,
    PrivateDataError,
    RefusedPrivate,
)
from ledger.state.private_check import is_part
from ledger.state.private_keys import NO_CHANGES, OF_INVALID, SetPlace, StoredSet
from ledger.state.private_late import late_in_state, late_in_store, verify_late
from ledger.state.private_plan import NO_PLAN, PrivatePlan, PrivatePlanner
from ledger.state.private_store import REMEDY, PrivateStore
from ledger.state.snapshot import LedgerSnapshot
from ledger.state.version import Version
from ledger.transactions.codes import TxValidationCode
from ledger.transactions.private import PrivateWrite, TxPrivate, matches


class PrivateLedger:
    """The private data of one channel. One writer; ``data`` and ``missing`` on any thread.

    Args:
        store: the write sets.
        database: of the state.
        snapshot: returns the state as it is now.
        load: returns a block by its number.
    """

    def __init__(
        self,
        store: PrivateStore,
        database: ChannelDatabase,
        snapshot: Callable[[], LedgerSnapshot],
        load: Callable[[int], Block | None],
    ) -> None:
        self.store = store
        self._database = database
        self._snapshot = snapshot
        self._load = load
        self._ahead = -1

    # Reading

    def data(self, number: int) -> dict[int, TxPrivate]:
        """Return the write sets held of a block, by transaction; what has expired is left out."""
        with self._database.reading():
            return self.store.private_data(number)

    def missing(
        self, limit: int, older_than: MissingPrivate | None, height: int
    ) -> list[MissingPrivate]:
        """Return write sets that are awaited of blocks below *height*, newest first."""
        found: list[MissingPrivate] = []
        with self._database.reading():
            for missing in self.store.awaited(older_than):
                if len(found) >= limit:
                    break
                if missing.block_num < height:
                    found.append(missing)
        return found

    # With a block

    def _concerns(self, prepared: PreparedBlock) -> bool:
        """Tell whether a block has anything to do with private data."""
        expiry = prepared.expiry
        return bool(
            prepared.collections
            or expiry.sets
            or expiry.hashes
            or prepared.block.number <= self._ahead
        )

    def begin(self, prepared: PreparedBlock, private: BlockPrivate) -> PrivatePlan:
        """Make the private data of a block durable, before the block is.

        Returns:
            What follows for the state, and for ``finish``.

        Raises:
            PrivateDataError: *private* holds what the block does not name, or with another hash.
            StorageError: the disk refused.
        """
        if private is NOTHING and not self._concerns(prepared):
            return NO_PLAN
        held = self._held(prepared, private)
        awaited = _awaited(prepared, private)
        with self._snapshot() as state:
            plan = PrivatePlanner(prepared, held, self.store, state).plan(awaited)
        self.store.change(plan.before)
        return plan

    def finish(self, number: int, plan: PrivatePlan) -> None:
        """Take out of the write sets what goes with a block that the state has now."""
        if plan.after != NO_CHANGES:
            self.store.finish(number)

    def _held(self, prepared: PreparedBlock, private: BlockPrivate) -> dict[SetPlace, StoredSet]:
        """Return the write sets that are given or, after a crash, stored already; verified."""
        number = prepared.block.number
        held = {}
        for tx_num, writes in private.held.items():
            for write in writes:
                place = SetPlace(Version(number, tx_num), write.namespace, write.collection)
                hashed = prepared.collections.get(place)
                if hashed is None or not matches(write, hashed):
                    raise _foreign(place, "names none" if hashed is None else "has another hash")
                is_valid = prepared.codes[tx_num] is TxValidationCode.VALID
                held[place] = StoredSet(0 if is_valid else OF_INVALID, write.rwset)
        for place, stored in self.store.of_block(number).items():
            if place not in held and _is_true(prepared, place, stored):
                held[place] = stored
        return held

    def replay(self, prepared: PreparedBlock) -> PrivatePlan:
        """Plan for a block that is stored, with the write sets that are; nothing is written.

        Raises:
            CorruptionError: a stored write set is not what the block says.
        """
        if not self._concerns(prepared):
            return NO_PLAN
        held = self.store.of_block(prepared.block.number)
        for place, stored in held.items():
            if not _is_true(prepared, place, stored):
                raise CorruptionError(
                    f"the database {self.store.path} is damaged: the write set of transaction "
                    f"{tuple(place.version)} to {place.namespace!r}/{place.collection!r} is not "
                    f"what the block says; {REMEDY}"
                )
        with self._snapshot() as state:
            return PrivatePlanner(prepared, held, self.store, state).plan(set())

    # Behind a block

    def add(self, items: Sequence[LatePrivate]) -> list[RefusedPrivate]:
        """Add write sets that were missing; return those that are not taken, and why."""
        with self._snapshot() as state:
            taken, refused = verify_late(items, state, self._load)
            if taken:
                self.store.change(late_in_store(taken))
                self._database.write(*late_in_state(taken.items(), state))
                self.store.forget_late()
        return refused

    def become_eligible(self, collections: Iterable[tuple[str, str]]) -> int:
        """Await all write sets of collections that are not held; return how many they are."""
        with self._snapshot() as state:
            return self.store.add_awaited(
                SetPlace(version, namespace, collection)
                for namespace, collection in collections
                for version in state.all_absent(namespace, collection)
            )

    # When the ledger opens

    def recover(self, height: int) -> list[str]:
        """Finish what a crash left undone, once all stored blocks are in the state.

        Returns:
            What was done, in words.
        """
        self.store.settle(height)
        self._ahead = self.store.ahead(height)
        late = [(place, self.store.get(place)) for place in self.store.late()]
        found = [(place, stored) for place, stored in late if stored is not None]
        if found:
            with self._snapshot() as state:
                self._database.write(*late_in_state(found, state))
        self.store.forget_late()
        sets = "write set" if len(found) == 1 else "write sets"
        return [f"put {len(found)} private {sets} into the state, come late"] if found else []


def _awaited(prepared: PreparedBlock, private: BlockPrivate) -> set[SetPlace]:
    awaited = set()
    for missing in private.missing:
        version = Version(missing.block_num, missing.tx_num)
        place = SetPlace(version, missing.namespace, missing.collection)
        if place not in prepared.collections:
            raise _foreign(place, "names none")
        if missing.eligible:
            awaited.add(place)
    return awaited


def _foreign(place: SetPlace, why: str) -> PrivateDataError:
    return PrivateDataError(
        f"private data of transaction {tuple(place.version)} to {place.namespace!r}/"
        f"{place.collection!r} do not belong there: the block {why}; verify them before "
        "committing the block"
    )


def _is_true(prepared: PreparedBlock, place: SetPlace, stored: StoredSet) -> bool:
    """Tell whether a stored write set is what the block says, or what purges left of it."""
    hashed = prepared.collections.get(place)
    if hashed is None:
        return False
    if matches(PrivateWrite(place.namespace, place.collection, stored.rwset), hashed):
        return True
    return stored.is_trimmed and is_part(stored.rwset, hashed)
