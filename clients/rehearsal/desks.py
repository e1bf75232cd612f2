"""The officers of a rehearsal: who signs what, each through the node of its own member.

A member's officers ask and act through their own node. What one member's node has committed may
reach another's a moment later; before an officer of another member acts on it, `Desks` waits until
that node has it too, so that a rehearsal gives the same result on a slow machine as on a fast one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from clients.gateway.asynchronous import AsyncGateway
from clients.gateway.messages import commit_request
from clients.gateway.profile import load_profile
from clients.gateway.retry import RetryPolicy
from clients.rehearsal.clock import RehearsalClock
from clients.rehearsal.errors import RehearsalFailed

MOST_RECORDS: Final = 500
"""Records that a bulk function takes (docs/contracts.md)."""
ENFORCEMENT: Final = "enforcement"
INSTALMENTS: Final = "instalments"
_RETRY: Final = RetryPolicy()
_AT_ONCE: Final = 4
"""Transactions of one bulk call that are under way together."""


def plain_json(value: object) -> str:
    """Return *value* as the argument of a contract function."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


class Desk:
    """One officer at work; made by `Desks.of`."""

    def __init__(self, desks: Desks, msp_id: str, gateway: AsyncGateway, channel_id: str) -> None:
        self.msp_id = msp_id
        self._desks = desks
        self._gateway = gateway
        network = gateway.network(channel_id)
        self._contracts = {name: network.contract(name) for name in (ENFORCEMENT, INSTALMENTS)}
        self._channel_id = channel_id
        # What is transient is shown to no more members than must endorse: this one and the
        # regulator, or the first other one if this is the regulator's.
        self._confidants = (msp_id, desks.confidant_of(msp_id))

    async def ask(self, namespace: str, function: str, *arguments: str) -> Any:
        """Run a query on the officer's own node, which first catches up, and return its result."""
        await self._desks.settle(self)
        raw = await self._contracts[namespace].evaluate(function, *arguments)
        return json.loads(raw)

    async def act(
        self,
        namespace: str,
        function: str,
        *arguments: str,
        transient: Mapping[str, bytes] | None = None,
    ) -> Any:
        """Submit a transaction, wait for its commit, and return what the contract answered."""
        await self._desks.settle(self)
        outcome = await self._contracts[namespace].submit(
            function,
            *arguments,
            transient=transient,
            endorsing_organisations=self._confidants if transient else (),
            retry=_RETRY,
        )
        self._desks.committed(self, outcome.status.tx_id, outcome.status.block_num)
        return json.loads(outcome.result) if outcome.result else None

    async def act_on(
        self,
        namespace: str,
        function: str,
        records: Sequence[Mapping[str, Any] | str],
        transient: Mapping[str, Sequence[Any]] | None = None,
        most: int = MOST_RECORDS,
    ) -> list[dict[str, Any]]:
        """Submit a bulk function for any number of records, and return all verdicts in order.

        Args:
            records: of the one argument.
            transient: lists parallel to *records*, by their transient name.
            most: records of one transaction.
        """
        gate = asyncio.Semaphore(_AT_ONCE)

        async def part(first: int) -> list[dict[str, Any]]:
            beside = {
                name: plain_json(values[first : first + most]).encode()
                for name, values in (transient or {}).items()
            }
            async with gate:
                answer = await self.act(
                    namespace,
                    function,
                    plain_json(list(records[first : first + most])),
                    transient=beside or None,
                )
            verdicts: list[dict[str, Any]] = answer["verdicts"]
            return verdicts

        parts = await asyncio.gather(*map(part, range(0, len(records), most)))
        return [verdict for verdicts in parts for verdict in verdicts]

    async def wait_for(self, tx_id: str) -> None:
        """Return once the officer's node has committed the transaction."""
        await self._gateway.commit_status(
            commit_request(self._gateway.identity, self._channel_id, tx_id)
        )

    async def pages(
        self, namespace: str, function: str, rows: str, *arguments: str
    ) -> list[dict[str, Any]]:
        """Run a query page by page and return the rows of all pages.

        Args:
            rows: name of the list in its result.
            arguments: those before `limit` and `bookmark`.
        """
        found: list[dict[str, Any]] = []
        bookmark = ""
        while True:
            page = await self.ask(namespace, function, *arguments, str(MOST_RECORDS), bookmark)
            found.extend(page[rows])
            bookmark = page["bookmark"]
            if not bookmark:
                return found

    async def standings(self, agreements: Sequence[str], day: str) -> list[dict[str, Any] | None]:
        """Ask for the standings of any number of agreements on a day, "" for today; in order."""
        found: list[dict[str, Any] | None] = []
        for first in range(0, len(agreements), MOST_RECORDS):
            part = plain_json(list(agreements[first : first + MOST_RECORDS]))
            found.extend(await self.ask(INSTALMENTS, "Standings", part, day))
        return found

    async def blocks(self) -> AsyncIterator[Any]:
        """Return the blocks of the officer's own node, from the first to the newest."""
        await self._desks.settle(self)
        newest = self._desks.newest_block
        return self._gateway.network(self._channel_id).block_events(
            start_block=0, stop_block=newest
        )

    async def close(self) -> None:
        """Close the connection."""
        await self._gateway.close()


class Desks:
    """All officers of a rehearsal.

    Args:
        profiles: connection profile of each member, by MSP id.
        channel_id: of the network.
        regulator: MSP id of the member that endorses transient data of the others.
        clock: the rehearsal's time.
    """

    def __init__(
        self,
        profiles: Mapping[str, Path],
        channel_id: str,
        regulator: str,
        clock: RehearsalClock,
    ) -> None:
        self._profiles = {msp_id: load_profile(path) for msp_id, path in profiles.items()}
        self._channel_id = channel_id
        self._regulator = regulator
        self._clock = clock
        self._desks: dict[tuple[str, str], Desk] = {}
        self._newest: tuple[int, str] = (0, "")
        self._seen: dict[str, int] = {}
        self.transactions = 0

    def of(self, msp_id: str, role: str) -> Desk:
        """Return the desk of a member's officer.

        Raises:
            RehearsalFailed: there is no such member.
        """
        found = self._desks.get((msp_id, role))
        if found is None:
            profile = self._profiles.get(msp_id)
            if profile is None:
                raise RehearsalFailed(f"{msp_id} is no member of this rehearsal")
            gateway = AsyncGateway(profile.endpoints()[0], profile.user(role), clock=self._clock)
            found = Desk(self, msp_id, gateway, self._channel_id)
            self._desks[msp_id, role] = found
        return found

    def confidant_of(self, msp_id: str) -> str:
        """Return who endorses a member's transient data beside itself."""
        if msp_id != self._regulator:
            return self._regulator
        return next(other for other in self._profiles if other != msp_id)

    @property
    def newest_block(self) -> int:
        """Number of the newest block that a desk's transaction stands in."""
        return self._newest[0]

    def committed(self, desk: Desk, tx_id: str, block_num: int) -> None:
        """Note that a desk's node has committed a transaction."""
        self.transactions += 1
        self._seen[desk.msp_id] = max(block_num, self._seen.get(desk.msp_id, 0))
        self._newest = max(self._newest, (block_num, tx_id))

    async def settle(self, desk: Desk) -> None:
        """Wait until the desk's node has everything that was committed for any desk."""
        block_num, tx_id = self._newest
        if self._seen.get(desk.msp_id, 0) < block_num:
            await desk.wait_for(tx_id)
            self._seen[desk.msp_id] = max(block_num, self._seen.get(desk.msp_id, 0))

    async def close(self) -> None:
        """Close all connections."""
        await asyncio.gather(*(desk.close() for desk in self._desks.values()))
