"""Proofs that nodes with real CometBFTs gave verify with the genesis block, as they are alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from ledger.blocks.block import Block
from ledger.transactions.codes import TxValidationCode
from network.errors import FinalityError
from network.ordering.cometbft.finality.finality import decode_record
from network.ordering.cometbft.finality.proof_file import (
    Basis,
    Recorded,
    decode_proof,
    encode_proof,
)
from network.ordering.cometbft.finality.proofs import ProofVerifier
from network.ordering.cometbft.genesis import chain_id_of
from network.ordering.cometbft.validators import validators_of

FOLDER = Path(__file__).parent / "cometbft-0.38.25" / "proofs"
GENESIS = Block.decode((FOLDER / "genesis.block").read_bytes())
HEADER_HASHES = {
    2: "418ed90ce6bbf19fcfe5e2dc24e0762e2bc16c6d53f33946cc9740babd8ee620",
    4: "e7230fb4c31790236cc964c02c41acac0f66a0f37c9349072534adf1b163b7e4",
}
COMMIT_HASHES = {
    2: "740c4f7a9552c04aa9c8a62c6cc6aefac22ba48e1cd997a5fc780c8717d305c6",
    4: "965da2b5a6d9ac14df24836a9fc78397bb4efbd41e9425673b6a96c22e24aaa8",
}
SIGNERS = {2: ("BankMSP", "MakerMSP", "PtaMSP"), 4: ("BankMSP", "MakerMSP", "PtaMSP")}


def file(number: int) -> bytes:
    """The recorded proof of a block."""
    return (FOLDER / f"{number}.proof").read_bytes()


@pytest.mark.parametrize("number", [2, 4])
def test_recorded_proof_proves_its_block(number: int) -> None:
    """Hashes, verdicts and voters are those that the nodes showed."""
    proved = ProofVerifier(GENESIS).verify(file(number))
    assert (proved.channel_id, proved.block.number) == ("qist", number)
    assert proved.basis is Basis.RECORD
    assert proved.block.header.hash().hex() == HEADER_HASHES[number]
    assert proved.commit_hash.hex() == COMMIT_HASHES[number]
    assert proved.codes == (TxValidationCode.VALID,)
    assert proved.comet_height == 2 * number
    assert (proved.signers, proved.voters) == (SIGNERS[number], 4)


def test_recorded_proof_leads_through_an_exchanged_key() -> None:
    """The set that decided block 4 is not the one of the genesis block."""
    before = {
        each.public_key
        for each in validators_of(ProofVerifier(GENESIS).verify(file(2)).configuration)
    }
    after = {
        each.public_key
        for each in validators_of(ProofVerifier(GENESIS).verify(file(4)).configuration)
    }
    assert len(before & after) == 3
    alone = decode_proof(file(4))
    shorter = encode_proof(type(alone)(alone.genesis_hash, (), alone.target))
    with pytest.raises(FinalityError):
        ProofVerifier(GENESIS).verify(shorter)


@pytest.mark.parametrize("number", [2, 4])
def test_recorded_headers_are_of_the_chain_that_the_genesis_block_names(number: int) -> None:
    """CometBFT ran under the chain id that follows from the genesis block."""
    proof = decode_proof(file(number))
    for part in (*proof.configurations, proof.target):
        assert isinstance(part.rests_on, Recorded)
        header = decode_record(part.rests_on.record).header
        assert header.chain_id == chain_id_of("qist", GENESIS)
        assert header.version.block == 11


def test_recorded_proof_fails_with_a_byte_changed() -> None:
    """Bytes from all over the file; every byte of such a file is another test's."""
    verifier, raw = ProofVerifier(GENESIS), file(2)
    for place in range(0, len(raw), 61):
        changed = bytearray(raw)
        changed[place] ^= 1 << place % 8
        with pytest.raises(FinalityError):
            verifier.verify(bytes(changed))


def test_recorded_proof_leads_from_an_orderers_signature_to_votes() -> None:
    """Of a channel that began as solo: block 3 moved it, block 4 is the first that was voted on."""
    folder = FOLDER.parent / "migrated"
    genesis = Block.decode((folder / "genesis.block").read_bytes())
    raw = (folder / "4.proof").read_bytes()
    proved = ProofVerifier(genesis).verify(raw)
    assert proved.block.header.hash().hex() == (
        "40adb630b26b0b53aab582a5a25e2fd0d4c7f227db43fd4be6de108e2f95c1e4"
    )
    assert (proved.basis, proved.codes) == (Basis.RECORD, (TxValidationCode.VALID,))
    assert (len(proved.signers), proved.voters) == (4, 4)
    (move,) = decode_proof(raw).configurations
    assert (move.header.number, move.basis) == (3, Basis.SIGNATURES)
    for place in range(0, len(raw), 3001):
        changed = bytearray(raw)
        changed[place] ^= 1 << place % 8
        with pytest.raises(FinalityError):
            ProofVerifier(genesis).verify(bytes(changed))
