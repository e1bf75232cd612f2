"""What the scenarios share: the network of the settings, its users, connections, and small aids.

The SDK is imported as programs of others import it, from `qist`.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    Prehashed,
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from qist import (
    CommitStatus,
    Contract,
    Endpoint,
    Gateway,
    Network,
    OfflineIdentity,
    SigningIdentity,
    Timeouts,
    load_profile,
)

TIMEOUTS = Timeouts(evaluate_s=10, endorse_s=15, submit_s=10, commit_status_s=30)
TX_ID = r"^[0-9a-f]{64}$"
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

Scenario = Callable[["World"], None]

SCENARIOS: dict[str, Scenario] = {}
"""What each scenario does, by its name in the table."""


@dataclass(frozen=True)
class Member:
    """A user of a member as an application finds it."""

    endpoint: Endpoint
    msp_id: str
    msp_folder: Path

    @property
    def signer(self) -> SigningIdentity:
        return SigningIdentity.load(self.msp_folder, self.msp_id)

    @property
    def certificate_pem(self) -> bytes:
        (path,) = (self.msp_folder / "signcerts").iterdir()
        return path.read_bytes()

    @property
    def key(self) -> Any:
        (path,) = (self.msp_folder / "keystore").iterdir()
        return load_pem_private_key(path.read_bytes(), password=None)

    @property
    def offline(self) -> OfflineIdentity:
        """The identity without its key."""
        return OfflineIdentity(self.msp_id, self.certificate_pem)

    def sign_digest(self, digest: bytes) -> bytes:
        """What a vault does with 32 bytes and a key on P-256."""
        r, s = decode_dss_signature(self.key.sign(digest, ec.ECDSA(Prehashed(hashes.SHA256()))))
        return encode_dss_signature(r, min(s, P256_ORDER - s))

    def connect(self, signer: Any = None, timeouts: Timeouts = TIMEOUTS) -> Gateway:
        """Connect the user, or somebody else who signs in the user's name."""
        return Gateway(self.endpoint, signer or self.signer, timeouts=timeouts)


@dataclass
class World:
    """What scenarios share: the network of the settings, connections kept, small aids."""

    settings: Any
    _gateways: dict[str, Gateway] = field(default_factory=dict)

    @property
    def members(self) -> list[str]:
        return [each.mspId for each in self.settings.members]

    @property
    def home(self) -> str:
        return self.members[0]

    @property
    def second(self) -> str:
        return self.members[1]

    @property
    def third(self) -> str:
        return self.members[2]

    def key(self, name: str) -> str:
        """A key that no other client and no other run uses."""
        return f"{self.settings.prefix}{name}"

    def member(self, msp_id: str = "", user: str = "") -> Member:
        """A user of a member: of the first member and the usual user by default."""
        msp_id = msp_id or self.home
        (found,) = (each for each in self.settings.members if each.mspId == msp_id)
        endpoint = load_profile(found.profile).endpoints()[0]
        return Member(endpoint, msp_id, Path(found.users) / (user or self.settings.user) / "msp")

    def gateway(self, msp_id: str = "") -> Gateway:
        """A connected gateway of the usual user, kept until the end."""
        msp_id = msp_id or self.home
        if msp_id not in self._gateways:
            self._gateways[msp_id] = self.member(msp_id).connect()
        return self._gateways[msp_id]

    def network(self, gateway: Gateway | None = None) -> Network:
        return (gateway or self.gateway()).network(self.settings.channel)

    def contract(self, gateway: Gateway | None = None) -> Contract:
        return self.network(gateway).contract(self.settings.contract)

    def add(self, name: str, count: int) -> list[CommitStatus]:
        """Submit `Add` some times, one after the other, and return the statuses."""
        contract = self.contract()
        return [contract.submit("Add", self.key(name), "1").status for _ in range(count)]

    def next_block(self) -> int:
        """The number of the block after the newest one, which a new transaction tells."""
        return self.add("mark", 1)[0].block_num + 1

    def conflict(self, name: str) -> list[CommitStatus]:
        """Endorse two transactions on one state and submit both: the second meets a conflict."""
        gateway, contract = self.gateway(), self.contract()
        drafts = [contract.new_proposal("Add", self.key(name), number) for number in ("1", "2")]
        endorsed = [gateway.endorse(draft) for draft in drafts]
        return [gateway.commit_status(gateway.submit(each)) for each in endorsed]

    def get(self, name: str) -> str:
        return self.contract().evaluate("Get", self.key(name)).decode()

    def unsubmitted(self, name: str) -> tuple[Any, Any]:
        """An endorsed transaction that is not submitted, and the question for its status.

        The question is that of another transaction, in which the id is replaced.
        """
        gateway, contract = self.gateway(), self.contract()
        late = gateway.endorse(contract.new_proposal("Put", self.key(name), "x"))
        draft = contract.new_proposal("Put", self.key(f"{name}, first"), "x")
        other = gateway.submit(gateway.endorse(draft))
        raw = other.encode().replace(other.tx_id.encode(), late.tx_id.encode())
        return late, gateway.new_signed_commit(raw, b"")

    def close(self) -> None:
        for each in self._gateways.values():
            each.close()


def scenario(body: Scenario) -> Scenario:
    """List *body* under its name, with dashes."""
    SCENARIOS[body.__name__.replace("_", "-")] = body
    return body


def fail(words: object) -> NoReturn:
    raise AssertionError(words)


def verify(holds: object, otherwise: object = "") -> None:
    if not holds:
        fail(otherwise)


def equal(got: object, expected: object) -> None:
    verify(got == expected, f"got {got!r}, expected {expected!r}")


def contains(words: object, part: str) -> None:
    verify(part in str(words), f"no {part!r} in: {words}")


def matches(words: object, pattern: str) -> None:
    verify(re.search(pattern, str(words)), f"no {pattern!r} in: {words}")


def failure(kind: type[Exception], call: Callable[[], object]) -> Any:
    """What a call raises, which must be of this kind."""
    try:
        answer = call()
    except kind as error:
        return error
    fail(f"it should have failed and gave {answer!r}")


def first(stream: Iterator[Any]) -> Any:
    """The first of a stream, which is closed."""
    return take(stream, lambda taken: True)[0]


def take(stream: Iterator[Any], enough: Callable[[list[Any]], bool]) -> list[Any]:
    """Take from a stream until it is enough, and close it."""
    taken: list[Any] = []
    try:
        for each in stream:
            taken.append(each)
            if enough(taken):
                return taken
    finally:
        stream.close()  # type: ignore[attr-defined] # the SDK's streams are generators
    fail(f"the stream ended after {len(taken)}")


def command(words: Sequence[str]) -> None:
    """Run a command to its end."""
    done = subprocess.run(
        list(words), capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    verify(done.returncode == 0, f"{words} failed: {done.stdout}{done.stderr}")
