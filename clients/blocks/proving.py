"""Proofs of blocks: fetched from a node, told to people and programs.

A proof is verified with the genesis block alone (`network.ordering.cometbft.finality.proofs`), so
it does not matter which node it came from. `qist blocks verify` is what an auditor or a court runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import grpc
from google.protobuf.wrappers_pb2 import BytesValue

from clients.blocks.fetching import block_request
from clients.gateway.connection import Endpoint, gateway_error
from clients.gateway.errors import EventsError
from clients.gateway.ports import Signer
from ledger.transactions.parse import ParsedTransaction, parse_transaction
from network.ordering.cometbft.finality.proof_file import Basis
from network.ordering.cometbft.finality.proofs import ProvedBlock

__all__ = ["describe", "fetch_proof", "proved_lines"]

METHOD: Final = "/qist.Proofs/Get"
TIMEOUT_S: Final = 60.0


def fetch_proof(
    endpoint: Endpoint,
    signer: Signer,
    channel_id: str,
    number: int,
    client_certificate: bytes = b"",
) -> bytes:
    """Return the file of a block's proof, unverified, as a node makes it.

    Args:
        endpoint: the node's client port.
        signer: who asks.
        channel_id: the channel.
        number: of the block.
        client_certificate: DER of the TLS certificate that the connection shows, if it shows one.
    Raises:
        GatewayError: the node cannot be reached, refuses, or makes no proofs.
    """
    request = block_request(signer, channel_id, number, client_certificate)
    channel = grpc.secure_channel(
        endpoint.address, endpoint.credentials(), options=endpoint.options()
    )
    with channel:
        call = channel.unary_unary(
            METHOD,
            request_serializer=lambda message: bytes(message.SerializeToString()),
            response_deserializer=BytesValue.FromString,
        )
        try:
            answer: bytes = call(request.signed(), timeout=TIMEOUT_S).value
        except grpc.RpcError as error:
            raise gateway_error(EventsError, error, "") from error
    return answer


def describe(proved: ProvedBlock) -> dict[str, Any]:
    """Return what a proof proves, for programs; what is not proved is null or empty."""
    return {
        "channel_id": proved.channel_id,
        "number": proved.block.number,
        "header_hash": proved.block.header.hash().hex(),
        "previous_hash": proved.block.header.previous_hash.hex(),
        "commit_hash": proved.commit_hash.hex(),
        "basis": proved.basis.name.lower(),
        "proved_by": proved.proved_by,
        "comet_height": proved.comet_height,
        "decided_at": None if proved.decided_at is None else proved.decided_at.isoformat(),
        "signers": list(proved.signers),
        "voters": proved.voters,
        "transactions": [
            {
                "tx_id": transaction.index_id,
                "code": None if code is None else code.name,
            }
            for transaction, code in _transactions(proved)
        ],
    }


def proved_lines(proved: ProvedBlock) -> Iterator[str]:
    """Yield what a proof proves, as people read it."""
    yield f"block {proved.block.number} of channel {proved.channel_id} is proved"
    yield f"header hash   {proved.block.header.hash().hex()}"
    yield f"commit hash   {proved.commit_hash.hex() or '- (not proved)'}"
    yield f"rests on      {_basis(proved)}"
    if proved.decided_at is not None:
        yield f"decided at    {proved.decided_at.isoformat()}"
    of = f" of {proved.voters}" if proved.voters else ""
    yield f"signed by     {len(proved.signers)}{of}: {', '.join(proved.signers)}"
    yield f"transactions  {len(proved.block.data)}"
    for place, (transaction, code) in enumerate(_transactions(proved)):
        verdict = "verdict not proved" if code is None else code.name
        yield f"  {place:>3}  {transaction.index_id or '-'}  {verdict}"


def _basis(proved: ProvedBlock) -> str:
    if proved.basis is Basis.SIGNATURES:
        return "the signatures of the channel's orderers"
    if proved.basis is Basis.RECORD:
        return (
            f"the votes of validators: CometBFT's height {proved.comet_height}, decided with "
            "the height after it"
        )
    return f"the votes of validators on block {proved.proved_by}, to which its hash leads"


def _transactions(proved: ProvedBlock) -> Iterator[tuple[ParsedTransaction, Any]]:
    codes = proved.codes or (None,) * len(proved.block.data)
    for raw, code in zip(proved.block.data, codes, strict=True):
        yield parse_transaction(raw), code
