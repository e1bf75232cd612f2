"""At commit: the private write sets of a block, from the own transient store or other members.

For every collection that a transaction writes to and that this node is entitled to, by the state
before the block, a set must be found whose hash is the block's. What the endorsers pushed is here
already. What is not is pulled, of valid transactions only, from those who endorsed and the other
entitled members, within `pull_s` of `node.toml`: then the block is committed without, the ledger
notes what is missing, and the reconciler goes on asking.

Invariants: only sets whose hash is in the block are handed on; sets of invalid transactions are
kept where they are at hand, as Fabric keeps them, and never asked for; the writer thread waits no
longer than the deadline.

Source: Fabric, gossip/privdata/{coordinator,pvtdataprovider}.go. A Fabric peer pulls for up to 60
seconds a block, and by default for invalid transactions too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from typing import Final

from ledger.errors import LedgerError
from ledger.state.ports import StateReader
from ledger.state.private import BlockPrivate, MissingPrivate
from ledger.transactions.codes import TxValidationCode
from ledger.transactions.parse import ParsedTransaction
from ledger.transactions.private import PrivateWrite, matches, private_collections
from ledger.transactions.rwset import CollectionRWSet, TxRWSet
from network.errors import IdentityError
from network.msp import split_identity
from nodes.private_data.access import Collection, Collections
from nodes.private_data.digests import Digest
from nodes.private_data.pulling import Pulling
from nodes.private_data.transient import TransientRefusal, TransientStore

__all__ = ["Gathering"]

log = logging.getLogger(__name__)

ANSWER_S: Final = 1.0
"""How long one member may take for one answer while a block waits."""
_PART_OF_WAIT: Final = 0.75
_MARGIN_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class _Place:
    """A set that a block needs here."""

    digest: Digest
    hashed: CollectionRWSet
    members: Sequence[str]


class Gathering:
    """Gathers for the committer of one node; called on the writer thread.

    Args:
        own: MSP id of this node's member.
        transient: the node's own store.
        pulling: asks the others.
        loop: returns the node's event loop, None while it does not run.
        pull_s: how long a block may wait for other members; 0 for not at all.
    """

    def __init__(
        self,
        own: str,
        transient: TransientStore,
        pulling: Pulling,
        loop: Callable[[], asyncio.AbstractEventLoop | None],
        pull_s: float,
    ) -> None:
        self._own = own
        self._transient = transient
        self._pulling = pulling
        self._loop = loop
        self._pull_s = pull_s

    def gather(
        self,
        collections: Collections,
        number: int,
        transactions: Sequence[ParsedTransaction],
        codes: Sequence[TxValidationCode],
        state: StateReader,
        *,
        ask_others: bool = True,
    ) -> BlockPrivate:
        """Return what is at hand and what is missing; see `nodes.committer.ports.PrivateData`."""
        held: dict[int, list[PrivateWrite]] = {}
        lacking: list[_Place] = []
        missing: list[MissingPrivate] = []
        defined: dict[tuple[str, str], Collection | None] = {}
        for tx_num, (transaction, code) in enumerate(zip(transactions, codes, strict=True)):
            if transaction.rwset is None:
                continue
            is_valid = code is TxValidationCode.VALID
            kept: dict[tuple[str, str], PrivateWrite] | None = None
            for namespace, hashed in private_collections(transaction.rwset):
                place = (namespace, hashed.collection)
                if place not in defined:
                    defined[place] = collections.find(state, *place)
                found = defined[place]
                if found is None or self._own not in found.members:
                    if is_valid:
                        missing.append(MissingPrivate(number, tx_num, *place, False))
                    continue
                if kept is None:
                    kept = self._kept(transaction.tx_id, transaction.rwset)
                write = kept.get(place)
                if write is not None:
                    held.setdefault(tx_num, []).append(write)
                elif is_valid:
                    digest = Digest(transaction.tx_id, *place, number, tx_num)
                    lacking.append(_Place(digest, hashed, self._sources(transaction, found)))
        if lacking:
            pulled = self._pull(lacking) if ask_others else {}
            for digest in (each.digest for each in lacking):
                if digest in pulled:
                    held.setdefault(digest.tx_num, []).append(pulled[digest])
                else:
                    missing.append(MissingPrivate(number, digest.tx_num, *digest[1:3], True))
            if ask_others:
                log.info(
                    "block %d: %d private write sets were asked of other members, %d are missing",
                    number, len(lacking), len(lacking) - len(pulled),
                )  # fmt: skip
        return BlockPrivate({tx_num: tuple(writes) for tx_num, writes in held.items()}, missing)

    def _kept(self, tx_id: str, rwset: TxRWSet) -> dict[tuple[str, str], PrivateWrite]:
        """Return of what is kept for a transaction that which the block means."""
        wanted = {
            (namespace, hashed.collection): hashed
            for namespace, hashed in private_collections(rwset)
        }
        found: dict[tuple[str, str], PrivateWrite] = {}
        try:
            for each in self._transient.sets(tx_id):
                place = (each.namespace, each.collection)
                if place in wanted and matches(each, wanted[place]):
                    found[place] = each
                    if len(found) == len(wanted):
                        break
        except TransientRefusal:
            pass  # nothing can be kept for such an id
        return found

    def _sources(self, transaction: ParsedTransaction, collection: Collection) -> list[str]:
        """The members that may have a set: those that endorsed it first, then the others.

        An endorser that is no member of the collection has simulated it too, and has it still.
        """
        endorsers: list[str] = []
        for endorsement in transaction.endorsements:
            try:
                endorsers.append(split_identity(endorsement.endorser)[0])
            except IdentityError:
                continue
        asked = dict.fromkeys([*endorsers, *collection.members])
        asked.pop(self._own, None)
        return list(asked)

    def _pull(self, lacking: Sequence[_Place]) -> Mapping[Digest, PrivateWrite]:
        """Ask other members; wait no longer than the deadline."""
        loop = self._loop()
        if loop is None or not loop.is_running() or not self._pull_s:
            return {}
        places = {place.digest: place for place in lacking}
        found: dict[Digest, PrivateWrite] = {}

        async def accept(msp_id: str, sent: Mapping[Digest, Sequence[bytes]]) -> set[Digest]:
            accepted: set[Digest] = set()
            for digest, rwsets in sent.items():
                for rwset in rwsets:
                    write = PrivateWrite(digest.namespace, digest.collection, rwset)
                    if matches(write, places[digest].hashed):
                        found[digest] = write
                        accepted.add(digest)
                        break
                else:
                    log.warning(
                        "%s sent private data of %s/%s for transaction %d of block %d whose hash "
                        "is not the block's; another member is asked",
                        msp_id, digest.namespace, digest.collection, digest.tx_num,
                        digest.block_num,
                    )  # fmt: skip
            return accepted

        wanted = {place.digest: place.members for place in lacking}
        # Shorter than the whole, so that one that is silent is known to be so by the next block.
        answer_s = min(ANSWER_S, _PART_OF_WAIT * self._pull_s)
        future = asyncio.run_coroutine_threadsafe(
            self._pulling.pull(wanted, accept, self._pull_s, answer_s), loop
        )
        try:
            future.result(self._pull_s + _MARGIN_S)
        except FutureTimeout:
            future.cancel()
            log.warning("the event loop is too busy to ask other members for private data")
        except LedgerError as error:
            log.warning("other members cannot be asked for private data: %s", error)
        except CancelledError:
            log.info("the node is stopping and asks nobody for private data any more")
        return dict(found)
