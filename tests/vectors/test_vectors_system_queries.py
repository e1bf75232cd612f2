"""`qscc` and `cscc` over the recorded chain: Fabric's functions, arguments and protobuf results."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest
from fabric_protos.common import common_pb2, configtx_pb2, ledger_pb2
from fabric_protos.peer import query_pb2, transaction_pb2
from google.protobuf.message import DecodeError

from chaincode.contract import Creator
from chaincode.packages import PackageRegistry, PackageStore
from chaincode.simulator import Invocation, SimulationResult, Simulator
from chaincode.system import BlockQueries, ConfigurationQueries
from ledger.blocks.block import Block
from ledger.errors import CorruptionError
from ledger.transactions.codes import TxValidationCode
from tests.support.memory_state import MemoryState

VECTORS = Path(__file__).parent / "fabric-3.1.5-raft"
CHANNEL = "qist-raft"


class Place(NamedTuple):
    code: TxValidationCode
    block_num: int
    tx_num: int


class Recording:
    """The recorded blocks as an archive."""

    def __init__(self) -> None:
        self.raw = [path.read_bytes() for path in sorted((VECTORS / "blocks").glob("*.block"))]
        self.blocks = [Block.decode(raw) for raw in self.raw]
        self.places: dict[str, Place] = {}
        for block in self.blocks:
            for number, envelope in enumerate(block.data):
                code = TxValidationCode(block.metadata[2][number])
                self.places.setdefault(tx_id_of(envelope), Place(code, block.number, number))

    @property
    def height(self) -> int:
        return len(self.blocks)

    def block(self, number: int) -> Block | None:
        return self.blocks[number] if 0 <= number < len(self.blocks) else None

    def block_by_hash(self, header_hash: bytes) -> Block | None:
        return next((b for b in self.blocks if b.header.hash() == header_hash), None)

    def transaction(self, tx_id: str) -> Place | None:
        return self.places.get(tx_id)


class Configured:
    """The channel at the end of the recording."""

    channel_id = CHANNEL
    last_config_block = 61


def tx_id_of(envelope: bytes) -> str:
    """Return the transaction id in an envelope, "" if it cannot be read."""
    try:
        payload = common_pb2.Payload.FromString(common_pb2.Envelope.FromString(envelope).payload)
        tx_id: str = common_pb2.ChannelHeader.FromString(payload.header.channel_header).tx_id
    except DecodeError:
        return ""
    return tx_id


RECORDING = Recording()


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    return Ask(tmp_path)


class Ask:
    """Calls a contract of the system through the simulator, as Evaluate does."""

    def __init__(self, folder: Path, channel: Configured | None = None) -> None:
        system = [BlockQueries(RECORDING), ConfigurationQueries(channel or Configured(), RECORDING)]
        self.simulator = Simulator(PackageRegistry(PackageStore(folder), system))

    def __call__(self, name: str, function: str, *args: bytes | str) -> SimulationResult:
        raw: Sequence[bytes] = [a if isinstance(a, bytes) else a.encode() for a in args]
        return self.simulator.simulate(
            MemoryState(),
            Invocation(CHANNEL, "ab" * 32, name, (function.encode(), *raw), Creator("BankMSP"),
                       datetime(2026, 1, 1, tzinfo=UTC)),
        )  # fmt: skip


def test_chain_info_gives_height_and_hashes_of_newest_block(ask: Ask) -> None:
    """GetChainInfo: height and the two hashes, nothing read or written."""
    result = ask("qscc", "GetChainInfo", CHANNEL)
    info = ledger_pb2.BlockchainInfo.FromString(result.payload)
    newest = RECORDING.blocks[-1].header
    assert (result.status, result.version, result.rwset) == (200, "syscc", b"")
    assert (info.height, info.currentBlockHash) == (71, newest.hash())
    assert info.previousBlockHash == newest.previous_hash


@pytest.mark.parametrize("number", [0, 1, 45, 70])
def test_block_by_number_is_the_block_as_stored(ask: Ask, number: int) -> None:
    """GetBlockByNumber: the marshalled block, byte for byte."""
    assert ask("qscc", "GetBlockByNumber", CHANNEL, str(number)).payload == RECORDING.raw[number]


def test_block_of_largest_number_is_the_newest(ask: Ask) -> None:
    """2**64-1 stands for the newest block, as in Fabric."""
    result = ask("qscc", "GetBlockByNumber", CHANNEL, str(2**64 - 1))
    assert result.payload == RECORDING.raw[70]


def test_block_by_hash_is_the_block_of_that_header(ask: Ask) -> None:
    """GetBlockByHash takes the 32 bytes of the header hash."""
    header_hash = RECORDING.blocks[12].header.hash()
    assert ask("qscc", "GetBlockByHash", CHANNEL, header_hash).payload == RECORDING.raw[12]


def test_transaction_by_id_gives_envelope_and_code(ask: Ask) -> None:
    """GetTransactionByID: the envelope as received and the recorded verdict, valid or not."""
    codes = set()
    for tx_id, place in RECORDING.places.items():
        if not tx_id:
            continue
        result = ask("qscc", "GetTransactionByID", CHANNEL, tx_id)
        found = transaction_pb2.ProcessedTransaction.FromString(result.payload)
        envelope = RECORDING.blocks[place.block_num].data[place.tx_num]
        assert found.transactionEnvelope == common_pb2.Envelope.FromString(envelope)
        assert found.validationCode == place.code
        codes.add(found.validationCode)
    assert {0, 10, 11, 12} <= codes


def test_block_by_transaction_is_the_block_that_holds_it(ask: Ask) -> None:
    """GetBlockByTxID: the block of the first occurrence."""
    tx_id, place = next(item for item in RECORDING.places.items() if item[1].block_num == 45)
    result = ask("qscc", "GetBlockByTxID", CHANNEL, tx_id)
    assert result.payload == RECORDING.raw[place.block_num]


@pytest.mark.parametrize(
    ("function", "args", "status", "words"),
    [
        ("GetBlockByNumber", (CHANNEL, "71"), 404, "no such block number [71] in index"),
        ("GetBlockByNumber", (CHANNEL, "-1"), 400, "Failed to parse block number"),
        ("GetBlockByNumber", (CHANNEL, "1.5"), 400, "Failed to parse block number"),
        ("GetBlockByNumber", (CHANNEL, "²"), 400, "Failed to parse block number"),
        ("GetBlockByNumber", (CHANNEL, str(2**64)), 400, "Failed to parse block number"),
        ("GetBlockByNumber", (CHANNEL, "9" * 5000), 400, "Failed to parse block number"),
        ("GetBlockByNumber", (CHANNEL, ""), 400, "Block number must not be nil."),
        ("GetBlockByNumber", (CHANNEL,), 400, "missing 3rd argument for GetBlockByNumber"),
        ("GetBlockByNumber", (), 400, "Incorrect number of arguments"),
        ("GetBlockByNumber", ("other", "1"), 404, "Invalid chain ID, other"),
        ("GetBlockByNumber", (b"\xff\xfe", "1"), 404, "Invalid chain ID"),
        ("GetBlockByHash", (CHANNEL, b"\x00" * 32), 404, "no such block hash in index"),
        ("GetBlockByHash", (CHANNEL, b"\xff" * 4096), 404, "no such block hash in index"),
        ("GetBlockByHash", (CHANNEL, b""), 400, "Block hash must not be nil."),
        ("GetTransactionByID", (CHANNEL, "ab"), 404, "no such transaction ID [ab] in index"),
        ("GetTransactionByID", (CHANNEL, b"\xff"), 404, "no such transaction ID [as given]"),
        ("GetTransactionByID", (CHANNEL, ""), 400, "Transaction ID must not be nil."),
        ("GetBlockByTxID", (CHANNEL, "ab"), 404, "Failed to get block for txID ab"),
        ("Unheard", (CHANNEL,), 404, "Requested function Unheard not found"),
    ],
)  # fmt: skip
def test_query_that_cannot_be_answered_is_refused_in_fabrics_words(
    ask: Ask, function: str, args: tuple[bytes | str, ...], status: int, words: str
) -> None:
    """A definite refusal, 404 where the thing is not there, and never a broken contract."""
    result = ask("qscc", function, *args)
    assert result.status == status
    assert words in result.message
    assert result.payload == b""


def test_call_without_function_is_refused(ask: Ask) -> None:
    """No function at all is refused like an unknown one."""
    invocation = Invocation(
        CHANNEL, "ab" * 32, "qscc", (), Creator("BankMSP"), datetime(2026, 1, 1, tzinfo=UTC)
    )
    assert ask.simulator.simulate(MemoryState(), invocation).status == 404


def test_channels_are_the_one_that_is_kept(ask: Ask) -> None:
    """GetChannels: ChannelQueryResponse with the node's channel."""
    found = query_pb2.ChannelQueryResponse.FromString(ask("cscc", "GetChannels").payload)
    assert [channel.channel_id for channel in found.channels] == [CHANNEL]


def test_config_block_is_the_last_configuration(ask: Ask) -> None:
    """GetConfigBlock: the block that holds the configuration in force, as stored."""
    assert ask("cscc", "GetConfigBlock", CHANNEL).payload == RECORDING.raw[61]


def test_channel_config_is_the_config_in_that_block(ask: Ask) -> None:
    """GetChannelConfig: common.Config, with the sequence of the last update."""
    config = configtx_pb2.Config.FromString(ask("cscc", "GetChannelConfig", CHANNEL).payload)
    assert config.sequence == 5
    assert "MakerMSP" in config.channel_group.groups["Application"].groups


@pytest.mark.parametrize("function", ["GetConfigBlock", "GetChannelConfig"])
def test_configuration_of_another_channel_is_refused(ask: Ask, function: str) -> None:
    """The channel asked for must be the proposal's."""
    assert ask("cscc", function, "other").status == 404
    assert ask("cscc", function).status == 400


def test_configuration_block_that_is_missing_is_fatal(tmp_path: Path) -> None:
    """A ledger without its configuration block is damaged, which is not for the caller to hear."""

    class Beyond(Configured):
        last_config_block = 71

    for function in ("GetConfigBlock", "GetChannelConfig"):
        with pytest.raises(CorruptionError, match="configuration block 71"):
            Ask(tmp_path, Beyond())("cscc", function, CHANNEL)
