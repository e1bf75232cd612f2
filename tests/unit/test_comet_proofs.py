"""A proof leads from the genesis block to one block, and breaks where anything is not as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from ledger.blocks.block import Block
from ledger.errors import Refusal
from ledger.transactions.codes import TxValidationCode
from network.configuration.edits import set_batch
from network.errors import FinalityError
from network.ordering.block_signature import sign_block
from network.ordering.cometbft.finality.finality import encode_record
from network.ordering.cometbft.finality.proof_file import (
    Basis,
    Covered,
    Proof,
    ProofPart,
    Recorded,
    Signed,
    decode_proof,
    encode_proof,
)
from network.ordering.cometbft.finality.proof_making import make_proof
from network.ordering.cometbft.finality.proofs import ProofVerifier, ProvedBlock, verify_proof
from tests.support.members import CHANNEL
from tests.support.voted_chain import MEMBERS, VotedChain

VALID = TxValidationCode.VALID
CONFLICT = TxValidationCode.MVCC_READ_CONFLICT


@pytest.fixture(scope="module")
def chain() -> VotedChain:
    """`cometbft` from the genesis on: transactions, a new key, transactions."""
    made = VotedChain()
    made.silent = ("PtaMSP",)
    made.transactions(1)
    made.silent = ()
    made.transactions(3, [VALID, CONFLICT, VALID])
    made.rotate("MakerMSP")
    made.transactions()
    made.reconfigure(lambda config: set_batch(config, {"max_message_count": "9"}))
    made.transactions()
    return made


@pytest.fixture(scope="module")
def migrated() -> VotedChain:
    """`solo` up to block 3, whose configuration makes it `cometbft`."""
    made = VotedChain(solo=True)
    made.transactions(1)
    made.reconfigure(lambda config: set_batch(config, {"max_message_count": "9"}))
    made.migrate()
    made.transactions()
    made.rotate("PtaMSP")
    made.transactions()
    return made


def proof_of(source: VotedChain, number: int) -> Proof:
    """A block's proof, taken apart."""
    return decode_proof(make_proof(source, number))


def prove(source: VotedChain, number: int) -> ProvedBlock:
    """Make and verify."""
    return verify_proof(source.genesis, make_proof(source, number))


def refused(source: VotedChain, proof: Proof, reason: str) -> None:
    """Check that a proof breaks, for that reason."""
    with pytest.raises(FinalityError, match=reason):
        verify_proof(source.genesis, encode_proof(proof))


# What is proved


@pytest.mark.parametrize("number", range(1, 7))
def test_block_with_its_record_is_proved_to_the_last_byte(chain: VotedChain, number: int) -> None:
    """Verdicts, commit hash and metadata are those that the node stores."""
    proved = prove(chain, number)
    assert (proved.channel_id, proved.basis) == (CHANNEL, Basis.RECORD)
    assert proved.block == chain.blocks[number]
    assert proved.proved_by == number
    assert proved.comet_height == 2 * number - 1
    assert proved.decided_at is not None
    assert proved.voters == 4
    away = {"PtaMSP"} if number == 1 else set()
    assert proved.signers == tuple(sorted(set(MEMBERS) - away))


def test_verdicts_and_commit_hash_are_told(chain: VotedChain) -> None:
    """Those of the block, not all of which are valid."""
    proved = prove(chain, 2)
    assert proved.codes == (VALID, CONFLICT, VALID)
    assert len(proved.commit_hash) == 32
    assert proved.configuration.sequence == 0
    assert prove(chain, 4).configuration.sequence == 1


@pytest.mark.parametrize("number", [1, 2, 3])
def test_block_of_the_solo_time_is_proved_by_its_orderers_signature(
    migrated: VotedChain, number: int
) -> None:
    """Header and envelopes, for nobody signed the verdicts."""
    proved = prove(migrated, number)
    assert proved.basis is Basis.SIGNATURES
    assert (proved.block.header, proved.block.data) == (
        migrated.blocks[number].header,
        migrated.blocks[number].data,
    )
    assert (proved.codes, proved.commit_hash, proved.comet_height) == (None, b"", 0)
    assert (proved.block.metadata, proved.signers, proved.decided_at) == ((), ("BankMSP",), None)


@pytest.mark.parametrize("number", [4, 5, 6])
def test_block_behind_the_migration_is_proved_by_votes(migrated: VotedChain, number: int) -> None:
    """The configurations before it are believed for the signatures of those who ordered."""
    proof = proof_of(migrated, number)
    bases = [each.basis for each in proof.configurations]
    assert bases[:2] == [Basis.SIGNATURES, Basis.SIGNATURES]
    assert set(bases[2:]) <= {Basis.RECORD}
    proved = prove(migrated, number)
    assert (proved.basis, proved.block) == (Basis.RECORD, migrated.blocks[number])


@pytest.mark.parametrize(("number", "by"), [(1, 2), (4, 5)])
def test_block_without_a_record_is_proved_by_a_later_one(
    chain: VotedChain, number: int, by: int
) -> None:
    """Header and envelopes are: the later header leads back to it. Its verdicts are not."""
    lacking = without(chain, number)
    proved = prove(lacking, number)
    assert (proved.basis, proved.proved_by) == (Basis.LATER_RECORD, by)
    assert proved.block.header == chain.blocks[number].header
    assert (proved.codes, proved.commit_hash, proved.block.metadata) == (None, b"", ())


def test_block_is_proved_across_several_without_records(chain: VotedChain) -> None:
    """As many headers as there are."""
    made = VotedChain()
    for _ in range(5):
        made.transactions(1)
    lacking = without(made, 1, 2, 3)
    proof = proof_of(lacking, 1)
    assert isinstance(proof.target.rests_on, Covered)
    assert [each.number for each in proof.target.rests_on.headers] == [2, 3, 4]
    assert prove(lacking, 1).proved_by == 4


def test_configuration_that_changes_no_validator_may_lack_its_record(chain: VotedChain) -> None:
    """The same validators vouch for the later block that covers it."""
    lacking = without(chain, 5)
    assert proof_of(lacking, 6).configurations[1].basis is Basis.LATER_RECORD
    assert prove(lacking, 6).block == chain.blocks[6]


def test_configuration_that_changes_a_validator_needs_its_own_record(chain: VotedChain) -> None:
    """Or else the new validators would vouch for themselves."""
    with pytest.raises(FinalityError, match="validators are not those"):
        prove(without(chain, 3), 4)


def test_configuration_that_was_refused_is_proved_with_its_verdict() -> None:
    """It names itself as the newest one, and the next block the one in force."""
    made = VotedChain()
    made.transactions(1)
    update = VotedChain.reconfigure
    kept = made.configuration
    block = update(made, lambda config: set_batch(config, {"max_message_count": "9"}))
    made.blocks.pop()
    made.records.pop(block.number)
    made.configuration, made.last_config = kept, 0
    made.height_of_comet -= 2
    refusal = made.add(block.data, [TxValidationCode.INVALID_CONFIG_TRANSACTION])
    made.transactions(1)
    assert prove(made, refusal.number).codes == (TxValidationCode.INVALID_CONFIG_TRANSACTION,)
    assert prove(made, refusal.number + 1).codes == (VALID,)


def without(source: VotedChain, *numbers: int) -> VotedChain:
    """The chain on a node that lacks the records of these blocks."""
    lacking = VotedChain.__new__(VotedChain)
    lacking.__dict__.update(source.__dict__)
    lacking.records = {
        number: record for number, record in source.records.items() if number not in numbers
    }
    return lacking


# What cannot be made


@pytest.mark.parametrize("number", [-1, 0, 7, 1 << 63])
def test_proof_of_no_block_is_refused(chain: VotedChain, number: int) -> None:
    """The genesis block is what a proof begins with."""
    with pytest.raises(Refusal, match="the chain has the blocks 0 to 6"):
        make_proof(chain, number)


def test_proof_before_any_record_is_refused(chain: VotedChain) -> None:
    """It comes a moment later; the message says so."""
    with pytest.raises(Refusal, match="neither block 6 nor one of the 0 after it"):
        make_proof(without(chain, 6), 6)


# What breaks


def test_proof_under_another_genesis_block_is_refused(
    chain: VotedChain, migrated: VotedChain
) -> None:
    """Both hashes are told."""
    with pytest.raises(FinalityError, match="give that of the channel it was made for"):
        verify_proof(migrated.genesis, make_proof(chain, 1))


@pytest.mark.parametrize("number", [1, 3])
def test_genesis_block_that_is_none_is_refused(chain: VotedChain, number: int) -> None:
    """A proof begins with block 0."""
    with pytest.raises(FinalityError, match="the genesis block cannot be used"):
        ProofVerifier(chain.blocks[number])


def altered(part: ProofPart, **changes: object) -> ProofPart:
    """A part whose evidence is changed."""
    return replace(part, rests_on=replace(part.rests_on, **changes))  # type: ignore[arg-type]


def _metadata(part: ProofPart) -> tuple[bytes, ...]:
    assert isinstance(part.rests_on, Recorded)
    return part.rests_on.metadata


def test_other_verdicts_break_a_proof(chain: VotedChain) -> None:
    """The app hash is over them."""
    proof = proof_of(chain, 2)
    entries = list(_metadata(proof.target))
    entries[2] = bytes([0, 0, 0])
    changed = altered(proof.target, metadata=tuple(entries))
    refused(chain, replace(proof, target=changed), "validators decided on")


def test_record_of_another_block_breaks_a_proof(chain: VotedChain) -> None:
    """It is of another height."""
    proof = proof_of(chain, 2)
    changed = altered(proof.target, record=chain.records[1])
    refused(chain, replace(proof, target=changed), "its record is of height 2, not of the one")


def test_configuration_that_is_left_out_breaks_a_proof(chain: VotedChain) -> None:
    """One that changed a validator by the votes, any other by the number that the block names."""
    proof = proof_of(chain, 6)
    refused(
        chain,
        replace(proof, configurations=proof.configurations[1:]),
        "its configuration|validators are not those|brings none",
    )
    refused(
        chain,
        replace(proof, configurations=proof.configurations[:1]),
        "it names block 5 as the newest configuration, and the proof leads to block 3",
    )


def test_block_that_is_no_configuration_breaks_a_proof_as_one(chain: VotedChain) -> None:
    """Nothing but configurations stands among the configurations."""
    proof = proof_of(chain, 6)
    more = (proof_of(chain, 2).target, *proof.configurations)
    refused(chain, replace(proof, configurations=more), "stands among the configurations and")


def test_configuration_twice_breaks_a_proof(chain: VotedChain) -> None:
    """Numbers rise."""
    proof = proof_of(chain, 4)
    twice = (*proof.configurations, *proof.configurations)
    refused(chain, replace(proof, configurations=twice), "it does not follow block 3")


def test_votes_of_former_validators_break_a_proof() -> None:
    """A key that was exchanged votes for nothing any more."""
    made = VotedChain()
    before = made.configuration
    made.rotate("BankMSP")
    made.transactions(1)
    made.height_of_comet -= 1
    made.records[2] = encode_record(made.decide(before))
    with pytest.raises(FinalityError, match="validators are not those of the channel"):
        prove(made, 2)


def test_header_that_names_other_next_validators_breaks_a_proof() -> None:
    """Also one that the right validators have signed."""
    made = VotedChain()
    made.transactions(1)
    kept = made.configuration
    other = VotedChain()
    made.height_of_comet -= 1
    made.configuration, before = other.configuration, kept
    made.records[1] = encode_record(made.decide(before))
    made.configuration = kept
    with pytest.raises(FinalityError, match="names other validators for the height after"):
        prove(made, 1)


def test_block_without_its_order_breaks_a_proof(chain: VotedChain, migrated: VotedChain) -> None:
    """A block of solo, with a record of CometBFT's."""
    proof = proof_of(chain, 1)
    block = migrated.blocks[1]
    stranger = ProofPart(block.header, block.data, Recorded(block.metadata, chain.records[1]))
    refused(chain, replace(proof, target=stranger), "does not say that CometBFT ordered it")


def test_basis_must_be_that_of_the_engine(chain: VotedChain, migrated: VotedChain) -> None:
    """Signatures of orderers count for nothing once validators decide, and the other way round."""
    proof = proof_of(chain, 1)
    signed = replace(proof.target, rests_on=Signed(_metadata(proof.target)[0]))
    refused(chain, replace(proof, target=signed), "'cometbft' it cannot rest on signatures")
    before = proof_of(migrated, 1)
    voted = replace(before.target, rests_on=proof.target.rests_on)
    refused(migrated, replace(before, target=voted), "'solo' it cannot rest on votes")


def test_envelopes_cut_at_other_places_break_a_proof(chain: VotedChain) -> None:
    """The data hash is over all of them as one, so each must have the one form of an envelope."""
    lacking = without(chain, 2)
    proof = proof_of(lacking, 2)
    one, two, three = proof.target.data
    for data in (
        (one + two, three),
        (one + two + three,),
        (one[:-1], one[-1:] + two, three),
        (one, two, three, b""),
    ):
        refused(lacking, replace(proof, target=replace(proof.target, data=data)), "not well formed")


def test_headers_with_a_gap_break_a_proof(chain: VotedChain) -> None:
    """Each names the one before."""
    made = VotedChain()
    for _ in range(4):
        made.transactions(1)
    lacking = without(made, 1, 2, 3)
    proof = proof_of(lacking, 1)
    assert isinstance(proof.target.rests_on, Covered)
    headers = proof.target.rests_on.headers
    refused(
        made,
        replace(proof, target=altered(proof.target, headers=headers[:1] + headers[2:])),
        "block 4 does not follow block 2",
    )
    refused(made, replace(proof, target=altered(proof.target, headers=())), "no later block")
    refused(
        made,
        replace(proof, target=altered(proof.target, headers=headers[:2])),
        "the record behind it is not that of block 3",
    )


def test_signature_of_another_identity_breaks_a_proof(migrated: VotedChain) -> None:
    """Only who may sign blocks of the channel counts."""
    proof = proof_of(migrated, 1)
    block = sign_block(proof.target.header, proof.target.data, migrated.client, 0)
    forged = replace(proof.target, rests_on=Signed(block.metadata[0]))
    refused(migrated, replace(proof, target=forged), "do not satisfy /Channel/Orderer")


def test_signed_block_must_name_the_newest_configuration(migrated: VotedChain) -> None:
    """The number is in what its orderer signed; a configuration follows from the one before it."""
    made = VotedChain(solo=True)
    made.reconfigure(lambda config: set_batch(config, {"max_message_count": "9"}))
    made.transactions(1)
    alone = replace(proof_of(made, 2), configurations=())
    refused(made, alone, "it names block 1 as the newest configuration, and the proof leads to")
    alone = replace(proof_of(migrated, 3), configurations=())
    refused(migrated, alone, "its configuration may not follow the one before it: config curren")


def test_configuration_that_validators_took_must_follow(chain: VotedChain) -> None:
    """One before it that is left out shows, though no validator changed with it."""
    alone = replace(proof_of(chain, 5), configurations=())
    refused(chain, alone, "its configuration may not follow the one before it|validators are not")


def test_proof_of_another_channels_configuration_is_refused(chain: VotedChain) -> None:
    """Two channels may have the same members and validators."""
    other = VotedChain()
    other.transactions(1)
    proof = replace(proof_of(other, 1), genesis_hash=chain.genesis.header.hash())
    refused(chain, proof, "is of chain|validators are not those")


# Every byte


def _small_proofs(chain: VotedChain, migrated: VotedChain) -> Iterator[tuple[VotedChain, bytes]]:
    yield chain, make_proof(chain, 1)
    yield chain, make_proof(without(chain, 1), 1)
    yield migrated, make_proof(migrated, 1)


def free_bytes(
    source: VotedChain, raw: bytes, places: range, turn: Callable[[int], int]
) -> list[int]:
    """Return the places at which a byte can be changed unseen."""
    verifier = ProofVerifier(source.genesis)
    found = []
    for place in places:
        changed = bytearray(raw)
        changed[place] ^= turn(place)
        try:
            verifier.verify(bytes(changed))
        except FinalityError:
            continue
        found.append(place)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("which", [0, 1, 2], ids=["its record", "a later record", "a signature"])
def test_proof_fails_with_every_byte_changed(
    chain: VotedChain, migrated: VotedChain, which: int
) -> None:
    """No byte of the file is free."""
    source, raw = list(_small_proofs(chain, migrated))[which]
    verify_proof(source.genesis, raw)
    assert free_bytes(source, raw, range(len(raw)), lambda place: 1 << place % 8) == []


@pytest.mark.slow
def test_large_proof_fails_with_any_byte_changed(migrated: VotedChain) -> None:
    """Configurations before and behind a migration, and votes: bytes from all over it."""
    raw = make_proof(migrated, 6)
    assert len(raw) > 100_000
    assert free_bytes(migrated, raw, range(7, len(raw), 2503), lambda place: 0xFF) == []


@pytest.mark.parametrize("change", [-1, 1])
def test_proof_of_another_length_is_refused(chain: VotedChain, change: int) -> None:
    """A byte less or more."""
    raw = make_proof(chain, 1)
    with pytest.raises(FinalityError):
        verify_proof(chain.genesis, raw[:change] if change < 0 else raw + b"\0")


def test_file_that_is_no_proof_is_refused(chain: VotedChain) -> None:
    """Whatever else it is."""
    for raw in (b"", b"anything", chain.genesis.encode(), make_proof(chain, 1)[:20]):
        with pytest.raises(FinalityError, match="this is no proof"):
            verify_proof(chain.genesis, raw)


def test_proof_is_written_as_it_was_read(chain: VotedChain, migrated: VotedChain) -> None:
    """One proof has one form."""
    for source, raw in (*_small_proofs(chain, migrated), (migrated, make_proof(migrated, 6))):
        assert encode_proof(decode_proof(raw)) == raw
        assert isinstance(source.block(1), Block)
