"""The records that the functions of the cases take, one dataclass a kind.

What a value must look like stands in its type; a record that is not of its type is refused by
itself, without the value, and the others of its list go on.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Annotated, Final, Literal

from chaincode.contract import Bounds, Malformed, MaxItems, MaxLength, Pattern

from ..book.inputs import AgreementId, Code, Hash, Language, MspId, Reference
from .outcome import HoldKind

MAX_RECORDS: Final = 500

RecordId = Annotated[
    str, MaxLength(48), Pattern(r"[A-Z0-9-]{1,48}", "an id of A–Z, 0–9 and -, at most 48")
]
Day = Annotated[str, MaxLength(10), Pattern(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", "a date as YYYY-MM-DD")]
"""A date as an argument of its own, which is text as it is."""
DayOrNone = Annotated[
    str,
    MaxLength(10),
    Pattern(r"(?:[0-9]{4}-[0-9]{2}-[0-9]{2})?", "a date as YYYY-MM-DD, or empty"),
]
Kind = Annotated[
    str,
    MaxLength(8),
    Pattern(
        "notice|proposal|vote|waiting|term|closing",
        "one of notice, proposal, vote, waiting, term, closing",
    ),
]
Limit = Annotated[int, Bounds(1, 500)]
Channel = Literal["sms", "letter", "app", "in_person", "email"]
ProposalReason = Literal["arrears", "no_contact", "refused_to_pay", "fraud"]
BlockStep = Literal["SUBMITTED", "IMPORTED", "LISTED", "APPLIED", "VERIFIED", "REFUSED"]
ReleaseStepName = Literal[
    "SUBMITTED", "IMPORTED", "LISTED", "APPLIED", "VERIFIED", "REFUSED", "NOT_APPLIED"
]


@dataclass(frozen=True, slots=True)
class NoticeInput:
    """A notice served on the borrower."""

    case: RecordId
    delivered_on: date
    channel: Channel
    language: Language
    proof: Hash


@dataclass(frozen=True, slots=True)
class ProposalInput:
    """The lender asks for a tier."""

    case: RecordId
    tier: Annotated[int, Bounds(1, 3)]
    reason: ProposalReason
    scope: Literal["own_sim", "financed_sim"] | None = None
    instrument: Reference | None = None


@dataclass(frozen=True, slots=True)
class BallotInput:
    """An officer's vote in a case."""

    case: RecordId
    choice: Literal["yes", "no", "abstain"]
    reason: Code


@dataclass(frozen=True, slots=True)
class BlockReceiptInput:
    """An executor's step about a block order."""

    order: RecordId
    step: BlockStep
    reason: Code | None = None
    evidence: Hash | None = None


@dataclass(frozen=True, slots=True)
class ReleaseReceiptInput:
    """An executor's step about the release of a block order."""

    order: RecordId
    step: ReleaseStepName
    reason: Code | None = None
    evidence: Hash | None = None


@dataclass(frozen=True, slots=True)
class HoldInput:
    """A pause of an agreement's enforcement."""

    agreement: AgreementId
    kind: HoldKind
    evidence: Hash
    until: date


@dataclass(frozen=True, slots=True)
class LiftInput:
    """The end of a hold before its time."""

    hold: RecordId
    reason: Code


@dataclass(frozen=True, slots=True)
class AnswerInput:
    """The lender's answer to a dispute."""

    hold: RecordId
    evidence: Hash


@dataclass(frozen=True, slots=True)
class ConfirmationOfHoldInput:
    """The regulator's word that a hold is right."""

    hold: RecordId
    evidence: Hash | None = None


@dataclass(frozen=True, slots=True)
class WithdrawalInput:
    """The lender gives a case up."""

    case: RecordId
    reason: Code


@dataclass(frozen=True, slots=True)
class InstrumentInput:
    """A legal instrument signed by the regulator."""

    reference: Reference
    tier: Annotated[int, Bounds(1, 3)]
    valid_from: date
    valid_until: date
    territory: Code
    document: Hash


@dataclass(frozen=True, slots=True)
class MemberInput:
    """A founding member."""

    msp_id: MspId
    member_class: Annotated[str, MaxLength(32)]
    affiliate_group: Annotated[str, MaxLength(32)]
    name: Annotated[str, MaxLength(128)] | None = None


@dataclass(frozen=True, slots=True)
class MemberChangeInput:
    """What is to change about a member, or a new one."""

    msp_id: MspId
    member_class: Annotated[str, MaxLength(32)] | None = None
    affiliate_group: Annotated[str, MaxLength(32)] | None = None
    name: Annotated[str, MaxLength(128)] | None = None
    status: Literal["active", "suspended", "leaving"] | None = None
    leaves_on: date | None = None
    successor: MspId | None = None


@dataclass(frozen=True, slots=True)
class GovernanceBallotInput:
    """A member's vote on policy or membership."""

    proposal: RecordId
    choice: Literal["yes", "no"]
    reason: Code | None = None


SweepInputs = Annotated[list[AgreementId | Malformed], MaxItems(MAX_RECORDS)]
NoticeInputs = Annotated[list[NoticeInput | Malformed], MaxItems(MAX_RECORDS)]
ProposalInputs = Annotated[list[ProposalInput | Malformed], MaxItems(MAX_RECORDS)]
BallotInputs = Annotated[list[BallotInput | Malformed], MaxItems(MAX_RECORDS)]
BlockReceiptInputs = Annotated[list[BlockReceiptInput | Malformed], MaxItems(MAX_RECORDS)]
ReleaseReceiptInputs = Annotated[list[ReleaseReceiptInput | Malformed], MaxItems(MAX_RECORDS)]
RecordIds = Annotated[list[RecordId | Malformed], MaxItems(MAX_RECORDS)]
HoldInputs = Annotated[list[HoldInput | Malformed], MaxItems(MAX_RECORDS)]
LiftInputs = Annotated[list[LiftInput | Malformed], MaxItems(MAX_RECORDS)]
AnswerInputs = Annotated[list[AnswerInput | Malformed], MaxItems(MAX_RECORDS)]
ConfirmationInputs = Annotated[list[ConfirmationOfHoldInput | Malformed], MaxItems(MAX_RECORDS)]
WithdrawalInputs = Annotated[list[WithdrawalInput | Malformed], MaxItems(MAX_RECORDS)]
InstrumentInputs = Annotated[list[InstrumentInput | Malformed], MaxItems(MAX_RECORDS)]
MemberInputs = Annotated[list[MemberInput], MaxItems(200)]
GovernanceBallotInputs = Annotated[list[GovernanceBallotInput | Malformed], MaxItems(MAX_RECORDS)]
