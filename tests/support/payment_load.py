"""Payments that four members post without pause, whatever is done to their nodes meanwhile.

    async with payment_load(network) as load:
        ...                                   # kill nodes
        await load.another_round()            # every client has had a payment acknowledged since
    places = network.verify()
    load.verify(places)

Each client posts payments of a rupee with references of its own through its own member's node, by
the steps of the SDK: endorse, submit, ask for the commit status. It notes how each attempt ended,
and goes on with the same payment until one is acknowledged. So each payment may be ordered several
times, and must be recorded once; each attempt must have come to what the client was told:

- *acknowledged*: CommitStatus answered VALID. It stands in every ledger once, VALID, in
  that block.
- *invalid*: CommitStatus answered with another code. It stands there with that code.
- *definite*: an error that is definite, or says that nothing was sent. It stands nowhere.
- *open*: an error after which the transaction may have been ordered. It stands once or nowhere.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

from chaincode.instalments.calendar import pkt_date
from clients.gateway.asynchronous import AsyncContract, AsyncGateway
from clients.gateway.errors import EndorseError, GatewayError
from clients.gateway.messages import commit_request
from ledger.transactions.codes import TxValidationCode
from tests.support.member_commands import FACTS
from tests.support.member_files import COUNT, write_files
from tests.support.node_network import CHANNEL, MEMBERS, NodeNetwork, Places
from tests.support.processes import qist

MEMBERS_FILE = """
[[members]]
msp_id = "BankMSP"
class = "bank"
group = "bank"
terms_with = ["OperatorMSP", "MakerMSP"]
[[members]]
msp_id = "OperatorMSP"
class = "operator"
group = "operator"
[[members]]
msp_id = "MakerMSP"
class = "manufacturer"
group = "maker"
[[members]]
msp_id = "PtaMSP"
class = "regulator"
group = "pta"
"""
"""The usual four; all of them may receive payments of the bank's agreements."""

PAUSE_S = 0.1
"""Between two attempts of one client; two cores run four nodes and the clients."""
DEADLINE_S = 60.0
PAISA = 100


@dataclass(frozen=True)
class Attempt:
    """One attempt to post one payment, and what the client was told.

    Attributes:
        tx_id: of the transaction.
        reference: of the payment.
        told: acknowledged, invalid, definite or open.
        code: the verdict, of the first two.
        block_num: the block, of the first two.
        error: of the last two.
    """

    tx_id: str
    reference: str
    told: str
    code: TxValidationCode | None = None
    block_num: int = -1
    error: GatewayError | None = None


@dataclass
class Client:
    """One poster of payments.

    Attributes:
        msp_id: whose officer it is.
        helpers: who endorses beside its own member, the one asked first at the front.
        agreements: the ones it posts for.
        attempts: all of them, in order.
    """

    msp_id: str
    gateway: AsyncGateway
    helpers: Sequence[str]
    agreements: Sequence[str]
    run: str
    attempts: list[Attempt] = field(default_factory=list)
    is_ending: bool = False
    may_post: asyncio.Event = field(default_factory=asyncio.Event)
    is_posting: bool = False

    @property
    def contract(self) -> AsyncContract:
        return self.gateway.network(CHANNEL).contract("instalments")

    def acknowledged(self) -> int:
        """How many payments were acknowledged so far."""
        return sum(each.told == "acknowledged" for each in self.attempts)

    async def post(self) -> None:
        """Post payments until told to end; an attempt that was begun is waited for."""
        day = (pkt_date(datetime.now(UTC)) - timedelta(days=1)).isoformat()
        helper = 0
        for number in count():
            payment = {
                "agreement": self.agreements[number % len(self.agreements)],
                "reference": f"{self.run}-{self.msp_id[0]}-{number}",
                "paid_on": day,
                "channel": "branch",
            }
            while not self.is_ending:
                await self.may_post.wait()
                self.is_posting = True
                attempt = await self._post(payment, self.helpers[helper % len(self.helpers)])
                self.attempts.append(attempt)
                self.is_posting = False
                if attempt.told == "acknowledged":
                    break
                # Whoever did not endorse is away; the next one may be there.
                helper += isinstance(attempt.error, EndorseError)
                await asyncio.sleep(PAUSE_S)
            if self.is_ending:
                return
            await asyncio.sleep(PAUSE_S)

    async def _post(self, payment: dict[str, str], helper: str) -> Attempt:
        proposal = self.contract.new_proposal(
            "PostPayments",
            json.dumps([payment]),
            transient={"amounts": json.dumps([PAISA]).encode()},
            endorsing_organisations=(self.msp_id, helper),
        )
        tx_id, reference = proposal.tx_id, payment["reference"]
        try:
            endorsed = await self.gateway.endorse(proposal)
            (verdict,) = json.loads(endorsed.result)["verdicts"]
            assert verdict["ok"], verdict
            status = await self.gateway.commit_status(await self.gateway.submit(endorsed))
        except GatewayError as error:
            told = "definite" if error.outcome_definite else "open"
            return Attempt(tx_id, reference, told, error=error)
        told = "acknowledged" if status.is_valid else "invalid"
        return Attempt(tx_id, reference, told, status.code, status.block_num)


@dataclass
class Load:
    """The clients at work, each in a task of its own."""

    network: NodeNetwork
    clients: list[Client]
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def attempts(self) -> list[Attempt]:
        """All attempts of all clients."""
        return [each for client in self.clients for each in client.attempts]

    def errors(self, kind: type[GatewayError]) -> list[GatewayError]:
        """The errors of one stage that any client met so far."""
        return [each.error for each in self.attempts if isinstance(each.error, kind)]

    def told(self) -> Counter[str]:
        """How many attempts ended in which way."""
        return Counter(each.told for each in self.attempts)

    async def another_round(self, *msp_ids: str) -> None:
        """Return when each client, or those of these members, had another payment acknowledged."""
        clients = [each for each in self.clients if not msp_ids or each.msp_id in msp_ids]
        before = {each.msp_id: each.acknowledged() for each in clients}
        await self.until(
            "a payment acknowledged for every client",
            lambda: all(each.acknowledged() > before[each.msp_id] for each in clients),
        )

    async def pause(self) -> None:
        """Let nobody post any more; return when every attempt that was begun has ended."""
        for client in self.clients:
            client.may_post.clear()
        await self.until(
            "the end of every attempt", lambda: not any(each.is_posting for each in self.clients)
        )

    def resume(self) -> None:
        """Let everybody post again."""
        for client in self.clients:
            client.may_post.set()

    async def until(
        self, what: str, condition: Callable[[], bool], within_s: float = DEADLINE_S
    ) -> None:
        """Wait for a condition of the load; a client that broke fails it at once."""
        try:
            async with asyncio.timeout(within_s):
                while not condition():
                    for task in self.tasks:
                        if task.done():
                            task.result()
                    await asyncio.sleep(0.02)
        except TimeoutError:
            last = [client.attempts[-1] for client in self.clients if client.attempts]
            raise AssertionError(f"not within {within_s:g} s: {what}; last: {last}") from None

    async def find_open(self) -> int:
        """Ask other members' nodes for the status of what stayed open; return how much was found.

        What the ledger holds must be found with its code, by whichever node; the rest is in no
        block, which a node's filtered blocks show.
        """
        found = 0
        async with self.network.gateway("PtaMSP") as pta, self.network.gateway("BankMSP") as bank:
            height = self.network.settled()
            stored: dict[str, TxValidationCode] = {}
            blocks = pta.network(CHANNEL).filtered_block_events(
                start_block=0, stop_block=height - 1
            )
            async for block in blocks:
                for each in block.filtered_transactions:
                    stored[each.txid] = TxValidationCode(each.tx_validation_code)
            for attempt in self.attempts:
                if attempt.told != "open" or attempt.tx_id not in stored:
                    continue
                asked = commit_request(bank.identity, CHANNEL, attempt.tx_id)
                status = await bank.commit_status(asked)
                assert status.code == stored[attempt.tx_id]
                found += 1
        return found

    def verify(self, places: Places) -> None:
        """Compare what every client was told with what the ledgers hold."""
        for each in self.attempts:
            stored = places.get(each.tx_id, ())
            match each.told:
                case "acknowledged" | "invalid":
                    assert list(stored) == [(each.block_num, each.code)], each
                case "definite":
                    assert stored == (), each
                case "open":
                    assert len(stored) <= 1, each

    async def verify_book(self) -> None:
        """Every acknowledged payment stands in the book once, and none twice."""
        recorded: Counter[str] = Counter()
        async with self.network.gateway("MakerMSP") as gateway:
            contract = gateway.network(CHANNEL).contract("instalments")
            for number in range(COUNT):
                answer = json.loads(await contract.evaluate("Payments", f"AG-{number}"))
                assert all(each["kind"] == "payment" for each in answer)
                recorded.update(f"{each['institution']} {each['reference']}" for each in answer)
        assert set(recorded.values()) <= {1}, [each for each, n in recorded.items() if n > 1]
        for client in self.clients:
            for each in client.attempts:
                if each.told == "acknowledged":
                    assert f"{client.msp_id} {each.reference}" in recorded, each


def members_file(folder: Path) -> tuple[str, ...]:
    """Return the words of `qist network create` for members that all post payments."""
    path = folder / "members.toml"
    path.write_text(MEMBERS_FILE)
    return "--members", str(path)


def open_book(network: NodeNetwork, folder: Path) -> None:
    """Bring a lender's agreements into the ledger, each step by the member whose step it is."""
    agreements, _payments = write_files(folder)
    for msp_id, step in (
        ("PtaMSP", "tacs"),
        ("MakerMSP", "devices"),
        ("BankMSP", "open"),
        ("OperatorMSP", "confirm"),
    ):
        words = ("--profile", network.profile(msp_id), "--user", "lending", "--json")
        done = qist("import", "agreements", agreements, *FACTS, "--step", step, *words)
        assert done.code == 0, done.out + done.err
        network.settled()


@asynccontextmanager
async def payment_load(network: NodeNetwork, run: str) -> AsyncIterator[Load]:
    """Post payments as long as the block lasts.

    Args:
        network: it serves; the book is open.
        run: letters and digits that no other load of the same network begins its references with.
    """
    each = COUNT // len(MEMBERS)
    # The orderer's node is asked last, so that its end finds nobody waiting for an endorsement.
    sequencer = network.sequencer
    helpers = sorted(MEMBERS, key=lambda msp_id: msp_id == sequencer)
    clients = [
        Client(
            msp_id,
            network.gateway(msp_id),
            [helper for helper in helpers if helper != msp_id],
            [f"AG-{place * each + number}" for number in range(each)],
            run,
        )
        for place, msp_id in enumerate(MEMBERS)
    ]
    load = Load(network, clients)
    load.resume()
    load.tasks = [asyncio.create_task(client.post()) for client in clients]
    try:
        await load.another_round()
        yield load
        for client in clients:
            client.is_ending = True
        load.resume()
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.gather(*load.tasks)
    finally:
        for task in load.tasks:
            task.cancel()
        await asyncio.gather(*load.tasks, return_exceptions=True)
        for client in clients:
            await client.gateway.close()
