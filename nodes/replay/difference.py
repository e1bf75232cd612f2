"""What a replay finds: how far two peers agree, and the first place where they do not."""

from __future__ import annotations

from dataclasses import dataclass, field

from ledger.errors import Refusal

__all__ = ["Difference", "Disagreement", "RecordingError", "Recount"]


class RecordingError(Refusal):
    """There are no blocks to replay at this place, or they cannot be read."""


@dataclass(frozen=True, slots=True)
class Difference:
    """The first place at which the recording and our own judgement part.

    Attributes:
        block_num: the block; -1 for the recording as a whole.
        tx_num: the transaction's place in the block; None where no single one is meant.
        tx_id: its id; empty if it has none that can be read.
        check: the check that decided, in a few words.
        key: what it looked at: a key, a policy, a metadata entry, a file; may be empty.
        ours, theirs: what the two sides say.
        detail: everything else that helps to find out who is right.
    """

    block_num: int
    check: str
    ours: str
    theirs: str
    key: str = ""
    tx_num: int | None = None
    tx_id: str = ""
    detail: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """Return the difference in lines for people."""
        place = f"block {self.block_num}" if self.block_num >= 0 else "the recording"
        if self.tx_num is not None:
            place += f", transaction {self.tx_num} ({self.tx_id or 'no id'})"
        shown = [f"DIFFERENCE in {place}", f"  check:  {self.check}"]
        if self.key:
            shown.append(f"  key:    {self.key}")
        shown += [f"  ours:   {self.ours}", f"  theirs: {self.theirs}"]
        shown += [f"  {line}" for line in self.detail]
        return shown

    def as_json(self) -> dict[str, object]:
        """Return the difference for programs."""
        return {
            "block": self.block_num,
            "transaction": self.tx_num,
            "tx_id": self.tx_id,
            "check": self.check,
            "key": self.key,
            "ours": self.ours,
            "theirs": self.theirs,
            "detail": list(self.detail),
        }


class Disagreement(Refusal):
    """The recording and our own judgement part here.

    Attributes:
        difference: where and how.
    """

    def __init__(self, difference: Difference) -> None:
        super().__init__("; ".join(line.strip() for line in difference.lines()))
        self.difference = difference


@dataclass(frozen=True, slots=True)
class Recount:
    """What came of one block.

    Attributes:
        number: of the block.
        ours, theirs: codes by name and how often; *theirs* is None if the block carries none.
        commit_hash: ours, in hexadecimal; empty for the genesis block.
        their_commit_hash: theirs; empty if the block carries none.
        transactions: how many the block holds.
        remarks: what no peer checks, and is odd all the same.
        difference: None if both sides agree.
    """

    number: int
    ours: dict[str, int]
    theirs: dict[str, int] | None
    commit_hash: str
    their_commit_hash: str
    transactions: int
    remarks: tuple[str, ...] = ()
    difference: Difference | None = field(default=None)
