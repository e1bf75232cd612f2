"""`cscc`: the configuration of the channel, asked through Evaluate.

Functions, arguments and results are Fabric's (core/scc/cscc/configure.go):

    GetChannels()               protos.ChannelQueryResponse: the channel this node keeps
    GetConfigBlock(channel)     common.Block that holds the configuration in force
    GetChannelConfig(channel)   common.Config in force

Absent: joining a channel, which is the business of whoever makes a node.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fabric_protos.common import common_pb2, configtx_pb2
from fabric_protos.peer import query_pb2
from google.protobuf.message import DecodeError as ProtobufDecodeError

from chaincode.contract.context import Context
from chaincode.system.functions import SystemChaincode, verify_channel
from chaincode.system.ports import BlockArchive, ConfiguredChannel
from ledger.blocks.block import Block
from ledger.errors import CorruptionError

NAME: Final = "cscc"


class ConfigurationQueries(SystemChaincode):
    """The contract `cscc` of a node with one channel."""

    def __init__(self, channel: ConfiguredChannel, archive: BlockArchive) -> None:
        super().__init__(
            NAME,
            {
                "GetChannels": self._channels,
                "GetConfigBlock": self._config_block,
                "GetChannelConfig": self._channel_config,
            },
            {},
        )
        self._channel = channel
        self._archive = archive

    def _channels(self, _ctx: Context, _args: Sequence[bytes]) -> bytes:
        raw: bytes = query_pb2.ChannelQueryResponse(
            channels=[query_pb2.ChannelInfo(channel_id=self._channel.channel_id)]
        ).SerializeToString()
        return raw

    def _config_block(self, ctx: Context, args: Sequence[bytes]) -> bytes:
        verify_channel(ctx, args)
        return self._block().encode()

    def _channel_config(self, ctx: Context, args: Sequence[bytes]) -> bytes:
        verify_channel(ctx, args)
        try:
            envelope = common_pb2.Envelope.FromString(self._block().data[0])
            payload = common_pb2.Payload.FromString(envelope.payload)
            config = configtx_pb2.ConfigEnvelope.FromString(payload.data).config
        except (IndexError, ProtobufDecodeError) as error:
            raise CorruptionError(
                f"block {self._channel.last_config_block} should hold the configuration of "
                f"channel {self._channel.channel_id} and does not; run fsck on the ledger"
            ) from error
        raw: bytes = config.SerializeToString()
        return raw

    def _block(self) -> Block:
        number = self._channel.last_config_block
        block = self._archive.block(number)
        if block is None:
            raise CorruptionError(
                f"configuration block {number} of channel {self._channel.channel_id} is missing; "
                "run fsck on the ledger"
            )
        return block
