"""The records that the book's functions take, one dataclass a kind.

What a value must look like stands in its type; a record that is not of its type is refused by
itself, without the value, and the others of its list go on. Deliberately absent: prices, amounts
and raw identifiers, which are transient data (`terms`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Annotated, Final, Literal

from chaincode.contract import Bounds, Malformed, MaxItems, MaxLength, Pattern

from ..identifiers import PSEUDONYM_PATTERN

MAX_RECORDS: Final = 500
"""Records of one transaction."""

AgreementId = Annotated[
    str, MaxLength(32), Pattern(r"[A-Z0-9-]{1,32}", "A–Z, 0–9 and -, at most 32")
]
Reference = Annotated[
    str, MaxLength(32), Pattern(r"[A-Z0-9/-]{1,32}", "A–Z, 0–9, - and /, at most 32")
]
Code = Annotated[
    str, MaxLength(40), Pattern(r"(?![0-9_]*$)[a-z0-9_]{1,40}", "a code of a–z, 0–9 and _")
]
"""A code is a word: digits alone may be somebody's number."""
Hash = Annotated[str, MaxLength(64), Pattern(r"[0-9a-f]{64}", "64 lower-case hex digits")]
Pseudonym = Annotated[
    str, MaxLength(81), Pattern(PSEUDONYM_PATTERN, "a pseudonym: key-id, colon, 64 hex digits")
]
MspId = Annotated[
    str, MaxLength(64), Pattern(r"[A-Za-z0-9][A-Za-z0-9._-]*", "the MSP id of a member")
]
Name = Annotated[
    str,
    MaxLength(64),
    Pattern(
        r"(?!.*[0-9]{10})[\w][\w .,&()'/+-]*",
        "a name of letters, digits, spaces and .,&()'/+-, without a long number",
    ),
]
Country = Annotated[str, MaxLength(2), Pattern(r"[A-Z]{2}", "two letters, as PK (ISO 3166)")]
Language = Annotated[
    str, MaxLength(8), Pattern(r"[a-z]{2,3}(?:-[A-Z]{2})?", "a language code, as ur or en-PK")
]
Pseudonyms = Annotated[list[Pseudonym], MaxItems(16)]
ContractType = Literal["conventional", "murabaha", "musawamah", "ijarah", "qardh_e_hasna"]


@dataclass(frozen=True, slots=True)
class TacInput:
    """A type allocation code of the regulator's list."""

    tac: Annotated[str, MaxLength(16)]
    maker: Name
    registrants: Annotated[list[MspId], MaxItems(64)]


@dataclass(frozen=True, slots=True)
class DeviceInput:
    """A handset: the pseudonyms of all its IMEIs, one inner list an IMEI."""

    imeis: Annotated[list[Pseudonyms], MaxItems(8)]
    tac: Annotated[str, MaxLength(16)]
    model: Name
    maker: Name
    country: Country


@dataclass(frozen=True, slots=True)
class ExchangeInput:
    """A warranty repair that gave the borrower another handset."""

    old: Pseudonyms
    new: Pseudonyms
    reason: Code


@dataclass(frozen=True, slots=True)
class ConsentInput:
    """What the borrower signed: salted hash of the statement, its language, consent to a block."""

    statement: Hash
    language: Language
    block: bool


@dataclass(frozen=True, slots=True)
class AgreementInput:
    """A new agreement; its terms are transient."""

    agreement: AgreementId
    device: Pseudonyms
    operator: MspId
    borrower: Pseudonym
    sim: Pseudonym
    contract_type: ContractType
    receiving_institutions: Annotated[list[MspId], MaxItems(32)]
    opened_on: date
    consent: ConsentInput | None = None
    imported: bool = False


@dataclass(frozen=True, slots=True)
class ConfirmationInput:
    """Handset and SIM were handed over."""

    agreement: AgreementId
    handed_over_on: date


@dataclass(frozen=True, slots=True)
class PaymentInput:
    """A payment; its amount is transient."""

    agreement: AgreementId
    reference: Reference
    paid_on: date
    channel: Code
    institution: MspId | None = None


@dataclass(frozen=True, slots=True)
class RefundInput:
    """Credit given back; its amount is transient."""

    agreement: AgreementId
    reference: Reference


@dataclass(frozen=True, slots=True)
class ReversalInput:
    """A payment that did not stand."""

    reference: Reference
    evidence: Hash
    institution: MspId | None = None


@dataclass(frozen=True, slots=True)
class RevisionInput:
    """A new version of a schedule; its instalments are transient."""

    agreement: AgreementId
    version: Annotated[int, Bounds(1, 9999)]
    reason: Code
    consent: ConsentInput | None = None


@dataclass(frozen=True, slots=True)
class EndingInput:
    """An agreement that ends otherwise than by payment."""

    agreement: AgreementId
    kind: Literal["written_off", "death"]
    evidence: Hash


@dataclass(frozen=True, slots=True)
class ClearanceInput:
    """An agreement to certify as paid up."""

    agreement: AgreementId


@dataclass(frozen=True, slots=True)
class NamedAgreement:
    """An agreement whose identifiers are recorded or purged."""

    agreement: AgreementId


Agreements = Annotated[list[AgreementId], MaxItems(MAX_RECORDS)]
TacInputs = Annotated[list[TacInput | Malformed], MaxItems(MAX_RECORDS)]
DeviceInputs = Annotated[list[DeviceInput | Malformed], MaxItems(MAX_RECORDS)]
ExchangeInputs = Annotated[list[ExchangeInput | Malformed], MaxItems(MAX_RECORDS)]
AgreementInputs = Annotated[list[AgreementInput | Malformed], MaxItems(MAX_RECORDS)]
ConfirmationInputs = Annotated[list[ConfirmationInput | Malformed], MaxItems(MAX_RECORDS)]
PaymentInputs = Annotated[list[PaymentInput | Malformed], MaxItems(MAX_RECORDS)]
RefundInputs = Annotated[list[RefundInput | Malformed], MaxItems(MAX_RECORDS)]
ReversalInputs = Annotated[list[ReversalInput | Malformed], MaxItems(MAX_RECORDS)]
RevisionInputs = Annotated[list[RevisionInput | Malformed], MaxItems(MAX_RECORDS)]
EndingInputs = Annotated[list[EndingInput | Malformed], MaxItems(MAX_RECORDS)]
NamedAgreements = Annotated[list[NamedAgreement | Malformed], MaxItems(MAX_RECORDS)]
ClearanceInputs = Annotated[list[ClearanceInput | Malformed], MaxItems(MAX_RECORDS)]
