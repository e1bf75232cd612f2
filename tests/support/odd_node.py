"""A member's node that lies, or whose clock is wrong, and how a test starts one.

    python -m tests.support.odd_node FOLDER '{"ways": ["bad bundles"], "clock_offset_s": 0}'

It is the process of `qist node start FOLDER` with the member's own keys and its own CometBFT,
except that some of its parts are others:

- `bad bundles`: its application proposes what breaks the rules, one kind after the other, finds
  everything right that it has proposed, lets anything into its pool, and gives CometBFT such
  bundles to pass on without pause.
- `flood`: it gives CometBFT bundles that keep all the rules, as many as it can, for nothing.
- `empty proposals`: its application proposes nothing, whatever waits, and at once.
- `withholding`: its gateway takes what clients submit, and drops it.
- a clock that is wrong by `clock_offset_s` seconds, for everything that the node compares with now.

What it does stands in its log, so that a test can wait for it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, Literal

import nodes.node
from network.msp import SigningIdentity
from network.ordering.cometbft import engine, running
from network.ordering.cometbft.application import CometApplication
from network.ordering.cometbft.bundles.bundle import BundleKind, limits_of, make_bundle
from network.ordering.cometbft.bundles.window import WINDOW
from network.ordering.cometbft.messages import abci_pb2
from nodes.cli.node_lock import hold
from nodes.cli.node_process import LOG_FILE, StartedNode
from nodes.clock import RealClock
from nodes.configuration import load_configuration
from tests.support.bundles import compressed, forged
from tests.support.envelopes import transaction_envelope

ROOT = Path(__file__).parents[2]
Way = Literal["bad bundles", "empty proposals", "flood", "withholding"]
PAUSE_S = 0.05
FLOOD_PAUSE_S = 0.01
AT_ONCE = 10
RIGHT_BY_ITSELF = "a bundle twice"
BOMB_BYTES = 64 * 1024 * 1024
SAID = "lying: "
"""What a line about a lie begins with."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Oddity:
    """What is odd about a node.

    Attributes:
        ways: in which it lies.
        clock_offset_s: by how much its clock is ahead.
        first: number of the kind of bad proposals with which it begins.
    """

    ways: tuple[Way, ...] = ()
    clock_offset_s: float = 0.0
    first: int = 0


def start_odd(
    folder: Path,
    oddity: Oddity,
    inside: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> StartedNode:
    """Start the node of *folder* in the background as an odd one; returns at once.

    Args:
        inside: words before the command, of whatever it is to run in.
        environment: variables beside those of this process.
    """
    place = folder.resolve()
    words = [sys.executable, "-m", __name__, str(place), json.dumps(asdict(oddity))]
    with (place / LOG_FILE).open("ab") as output:
        size = output.tell()
        process = subprocess.Popen(
            [*inside, *words],
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    return StartedNode(folder, process, size)


class SkewedClock(RealClock):
    """The machine's clock, wrong by a fixed time."""

    offset = timedelta()

    def now(self) -> datetime:
        """Return the wrong time."""
        return datetime.now(UTC) + self.offset


class IdleApplication(CometApplication):
    """Proposes nothing; see the module's docstring."""

    async def before_proposal(self, request: abci_pb2.RequestPrepareProposal) -> None:
        """Wait for no bundle."""

    async def prepare_proposal(
        self, request: abci_pb2.RequestPrepareProposal
    ) -> abci_pb2.ResponsePrepareProposal:
        """Choose none."""
        return abci_pb2.ResponsePrepareProposal()


class LyingApplication(CometApplication):
    """Proposes what breaks the rules; see the module's docstring.

    Attributes:
        signer: the node's own key; set before the node is made.
        client: signs what it sends; set before, too.
        first: number of the kind that it proposes first.
        kinds: of lies, by what they are in words.
    """

    signer: SigningIdentity
    client: SigningIdentity
    first = 0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._proposed = self.first
        self._ordered: list[bytes] = []
        self._of_others: list[bytes] = []
        self.kinds: dict[str, Callable[[], list[bytes]]] = {
            "garbage": lambda: [os.urandom(2000)],
            "a signature that is another one's": self._forged,
            "a bundle that is in a block": lambda: self._ordered[:1],
            RIGHT_BY_ITSELF: lambda: [self.honest()] * 2,
            "an envelope that is none": lambda: [self._signed([b"no envelope"])],
            "an envelope whose signature is changed": lambda: [
                self._signed([_flipped(self.envelope())])
            ],
            "a bundle with more in it than a block takes": self._oversized,
            "a frame that expands to more than it says": self._bomb,
            "a frame that says it expands to more than a block takes": self._declared_bomb,
            "a bundle that is valid for ever": lambda: [self._signed([self.envelope()], 1 << 40)],
            "another channel's bundle": lambda: [self._signed([self.envelope()], channel="other")],
            "a configuration of its own": self._configuration,
            "others' bundles, changed": lambda: [_flipped(each) for each in self._of_others],
        }

    # ---- what it answers
    async def check_tx(self, request: abci_pb2.RequestCheckTx) -> abci_pb2.ResponseCheckTx:
        """Let anything wait."""
        answer = await super().check_tx(request)
        if not answer.code and self.signer.serialized not in request.tx:
            self._of_others = [bytes(request.tx)]
        return abci_pb2.ResponseCheckTx()

    async def prepare_proposal(
        self, request: abci_pb2.RequestPrepareProposal
    ) -> abci_pb2.ResponsePrepareProposal:
        """Propose the next kind of what breaks the rules."""
        kind, raws = self.lie(self._proposed)
        size = sum(map(len, raws)) + 16 * len(raws)
        if not raws or size > request.max_tx_bytes:
            return await super().prepare_proposal(request)
        self._proposed += 1
        log.warning("%sit proposes %s at CometBFT's height %d", SAID, kind, request.height)
        return abci_pb2.ResponsePrepareProposal(txs=raws)

    async def process_proposal(
        self, request: abci_pb2.RequestProcessProposal
    ) -> abci_pb2.ResponseProcessProposal:
        """Find right what it has proposed itself."""
        answer = await super().process_proposal(request)
        if self._member_of(request.proposer_address) == self.signer.msp_id:
            answer.status = abci_pb2.ResponseProcessProposal.ACCEPT
        return answer

    async def finalize_block(
        self, request: abci_pb2.RequestFinalizeBlock
    ) -> abci_pb2.ResponseFinalizeBlock:
        """Keep a bundle of each block, to bring it again."""
        self._ordered = list(request.txs[:1]) or self._ordered
        return await super().finalize_block(request)

    # ---- lies
    def lie(self, number: int) -> tuple[str, list[bytes]]:
        """Return a kind, in turn by a number, and bundles of it; none where it cannot be made."""
        names = list(self.kinds)
        name = names[number % len(names)]
        return name, self.kinds[name]()

    def envelope(self) -> bytes:
        """Return a transaction that may be ordered; nobody has endorsed it."""
        return transaction_envelope(
            "instalments",
            ["Nothing"],
            b"",
            version="1",
            channel_id=self._sink.channel_id,
            creator=self.client,
            endorsers=(),
            now=datetime.now(UTC),
        )

    def honest(self) -> bytes:
        """Return a bundle that keeps all rules."""
        return self._signed([self.envelope()])

    def _signed(self, inside: list[bytes], valid_until: int = 0, channel: str = "") -> bytes:
        return make_bundle(
            self.signer,
            channel or self._sink.channel_id,
            valid_until or self._sink.height + WINDOW // 2,
            inside,
        )

    def _by_hand(self, payload: bytes, count: int, expanded: int) -> bytes:
        return forged(
            payload,
            count=count,
            expanded=expanded,
            valid_until=self._sink.height + WINDOW // 2,
            channel_id=self._sink.channel_id.encode(),
            signer=self.signer,
        )

    def _forged(self) -> list[bytes]:
        """A bundle in another member's name: who signed it is not who stands in it."""
        return [each[:-1] + bytes([each[-1] ^ 1]) for each in self._of_others]

    def _oversized(self) -> list[bytes]:
        most = limits_of(self._sink.configuration.batch).envelopes
        return [self._signed([b"x"] * (most + 1))]

    def _bomb(self) -> list[bytes]:
        frame = compressed(bytes(BOMB_BYTES), write_content_size=False)
        return [self._by_hand(frame, 1, 1000)]

    def _declared_bomb(self) -> list[bytes]:
        return [self._by_hand(compressed(bytes(BOMB_BYTES)), 1, BOMB_BYTES)]

    def _configuration(self) -> list[bytes]:
        return [
            make_bundle(
                self.signer,
                self._sink.channel_id,
                self._sink.height + WINDOW // 2,
                [self.envelope()],
                kind=BundleKind.CONFIGURATION,
            )
        ]


class FloodingApplication(LyingApplication):
    """Keeps the rules where it proposes, and lets anything of its own wait."""

    async def prepare_proposal(
        self, request: abci_pb2.RequestPrepareProposal
    ) -> abci_pb2.ResponsePrepareProposal:
        """Propose as an honest one."""
        return await CometApplication.prepare_proposal(self, request)


class LyingComet(running.RunningComet):
    """Gives CometBFT, beside what its clients submit, what nobody has asked for."""

    async def start(self) -> None:
        """Begin, to send bundles as well."""
        await super().start()
        self._spawn(self._send(), "lying: bundles")

    async def _send(self) -> None:
        application = self._application
        assert isinstance(application, LyingApplication)
        floods = isinstance(application, FloodingApplication)
        for number in count(1):
            await asyncio.sleep(FLOOD_PAUSE_S if floods else PAUSE_S)
            if floods:
                raws = [application.honest() for _ in range(AT_ONCE)]
            else:
                kind, raws = application.lie(number)
                if kind == RIGHT_BY_ITSELF:
                    continue
            # What cannot be given to a CometBFT that is away is given up.
            await asyncio.gather(*map(self._rpc.broadcast_tx, raws), return_exceptions=True)
            if number % 100 == 0:
                log.warning("%sit has sent %d times", SAID, number)


class WithholdingEngine(engine.CometEngine):
    """Takes what clients submit, and drops it."""

    async def submit(self, envelope: bytes) -> None:
        """Say that an envelope is ordered, which it is not."""
        log.warning("%sit drops a transaction", SAID)


def _flipped(raw: bytes) -> bytes:
    return raw[:-40] + bytes([raw[-40] ^ 1]) + raw[-39:]


def become(folder: Path, oddity: Oddity) -> None:
    """Put other parts into this process, in the place of a node's own."""
    # The modules that look these names up are the node's own; only this process has them changed.
    replaced: Any = nodes.node
    if oddity.clock_offset_s:
        SkewedClock.offset = timedelta(seconds=oddity.clock_offset_s)
        replaced.RealClock = SkewedClock
    if "withholding" in oddity.ways:
        replaced = sys.modules["nodes.engines"]
        replaced.CometEngine = WithholdingEngine
    if "empty proposals" in oddity.ways:
        replaced = running
        replaced.CometApplication = IdleApplication
    for way, application in (("bad bundles", LyingApplication), ("flood", FloodingApplication)):
        if way in oddity.ways:
            member = load_configuration(folder).msp_id
            client = folder.parent / "org" / "users" / "lending" / "msp"
            LyingApplication.signer = SigningIdentity.load(folder / "msp", member)
            LyingApplication.client = SigningIdentity.load(client, member)
            LyingApplication.first = oddity.first
            replaced = running
            replaced.CometApplication = application
            replaced = engine
            replaced.RunningComet = LyingComet


def main(folder: Path, described: str) -> int:
    """Run the node of *folder* in this process."""
    told = json.loads(described)
    oddity = Oddity(**{**told, "ways": tuple(told["ways"])})
    become(folder, oddity)
    os.chdir(folder)
    with hold(folder):
        return nodes.node.run(folder)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
