"""No consensus key signs a height twice, also after CometBFT's memory of what it signed was lost.

CometBFT keeps what its key signed last in `data/priv_validator_state.json` and signs nothing below
it. Where that file is gone (a lost disk, a ledger restored from a backup, a folder taken away), or
may be older than what was signed (the whole node was restored), the key must not sign before the
file stands above all that it can have signed. How high that is, the other members say:

    A validator signs height h + 1 only after it has seen more than two thirds commit h. Whoever
    votes for h has h - 1 on its disk. Of n = 3f + 1 members at least f honest others have voted
    so; whoever asks 2f + 1 of the 3f others has one of them among those that answer, and nothing
    above the highest height X that they name, plus two, was signed.

    They also say which votes they have for X + 1, the height that they are about to decide. Where
    none has one of this key, and not so many precommits that this key's would have decided, it has
    voted for nothing above X that anybody could count: it may vote for X + 1. So it is where
    nothing was under way, and where the others went on meanwhile. Else it signs nothing up to
    X + 2, and the others decide these heights without it.

A height that f or fewer of them are at counts only with votes for it (`height_claims.py`), so that
none that lies silences the key for ever.

So many must answer before CometBFT is started. A member that is down for good is one of the f that
may be faulty: where some do not answer for a while, f + 1 answers will do, of which one is right if
those that are silent are the faulty ones.

A key counts as new only where nothing says otherwise: no mark is beside it, the ledger has nothing
that CometBFT ordered, and no other member that answers is above height 0. The mark is a file,

    signs-ADDRESS     ADDRESS is the validator's, hexadecimal; in it the chain id

Invariants: it is on the disk before CometBFT is started with the key for the first time; and after
the file that says that nothing was signed, so that a node that is killed between does not take the
key's memory for lost.

Source: CometBFT v0.38 privval/file.go (`CheckHRS`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from network.ordering.cometbft.joining.vote_memory import VoteMemory
from network.ordering.cometbft.process.home import SIGN_STATE, make_sign_state

__all__ = ["SignGuard", "answers_needed", "height_signed_at_most", "write_whole"]

_BEYOND: Final = 2
_LAST_ROUND: Final = 2**31 - 1
_LAST_STEP: Final = 3
"""The precommit; above it nothing is signed in a round."""


def answers_needed(validators: int, *, patient: bool) -> int:
    """Return how many other members must say how far the chain is.

    Args:
        validators: how many there are.
        patient: whether those that are silent may still answer.
    """
    faulty = (validators - 1) // 3
    return 2 * faulty + 1 if patient else faulty + 1


def height_signed_at_most(answers: Sequence[VoteMemory], validators: int) -> int:
    """Return up to which height a key may have signed what counts.

    Args:
        answers: what the others remember, one at least.
        validators: how many there are.
    """
    highest = max(each.height for each in answers)
    deciding = [each for each in answers if each.height == highest]
    has_voted = any(each.has_voted for each in deciding)
    could_have_decided = 3 * (max(each.precommits for each in deciding) + 1) > 2 * validators
    return highest + _BEYOND if has_voted or could_have_decided else highest


class SignGuard:
    """Watches over one key in one chain.

    Args:
        home: CometBFT's folder.
        marks: the folder of the mark, beside the key.
        chain_id: of CometBFT's chain.
        address: of the validator, 20 bytes.
    """

    def __init__(self, home: Path, marks: Path, chain_id: str, address: bytes) -> None:
        self._home = home
        self._state = home / SIGN_STATE
        self._mark = marks / f"signs-{address.hex()}"
        self._text = f"{chain_id}\n"

    @property
    def has_signed(self) -> bool:
        """Whether CometBFT was started with this key in this chain before."""
        try:
            return self._mark.read_text() == self._text
        except FileNotFoundError:
            return False

    @property
    def remembers(self) -> bool:
        """Whether CometBFT's memory of what the key signed is there."""
        return self._state.exists()

    def set_mark(self) -> None:
        """Note durably that CometBFT is about to be started with this key.

        To be called once it is known what the key has signed; where that is nothing, its memory
        begins here.
        """
        make_sign_state(self._home)
        if not self.has_signed:
            write_whole(self._mark, self._text.encode())

    def sign_above(self, height: int) -> None:
        """Let the key sign nothing up to *height*, that included; what is higher stays.

        CometBFT must not be running.
        """
        if height < self._signed_height():
            return
        state = {"height": str(height), "round": _LAST_ROUND, "step": _LAST_STEP}
        write_whole(self._state, json.dumps(state).encode())

    def _signed_height(self) -> int:
        try:
            return int(json.loads(self._state.read_bytes())["height"])
        except FileNotFoundError:
            return 0


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, durably, for this user alone; makes its folder."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.new")
    scratch.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with os.fdopen(os.open(scratch, flags, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    scratch.rename(path)
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
