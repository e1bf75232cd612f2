"""What a validation code means, and what to do about it: one sentence each for every code.

Source: the stages at which a committer sets them, tests/vectors/fabric-3.1.5-raft/README.md.
"""

from __future__ import annotations

from typing import Final

from ledger.transactions.codes import TxValidationCode

_REPORT: Final = "report it to the maker of the client that built the envelope"
_AGAIN: Final = "have it endorsed again; if it may be made twice, give a retry policy"
_DEFINED: Final = "see which contracts the channel has with 'qist contract list'"

_CODES: Final = {
    "VALID": ("it is valid", "nothing needs to be done"),
    "NIL_ENVELOPE": ("the envelope is empty", _REPORT),
    "BAD_PAYLOAD": ("its payload or transaction cannot be read", _REPORT),
    "BAD_COMMON_HEADER": ("its header cannot be read or lacks a part", _REPORT),
    "BAD_CREATOR_SIGNATURE": (
        "its creator is of no member of the channel, is revoked, or did not sign these bytes",
        "check certificate and key of the user, and that ECDSA signatures have a low S",
    ),
    "INVALID_ENDORSER_TRANSACTION": ("it has not exactly one sound action", _REPORT),
    "INVALID_CONFIG_TRANSACTION": (
        "the configuration in it does not follow from the one in force",
        "build the update anew from the channel's newest configuration",
    ),
    "UNSUPPORTED_TX_PAYLOAD": ("transactions of its kind are not taken here", _REPORT),
    "BAD_PROPOSAL_TXID": ("its id is not that of its nonce and creator", _REPORT),
    "DUPLICATE_TXID": (
        "this id is in the ledger already",
        "ask for the status of the first one; a new attempt needs a new proposal",
    ),
    "ENDORSEMENT_POLICY_FAILURE": (
        "it lacks endorsements that a policy of the contract or of a key asks for",
        "name the endorsing organisations, or look which of their nodes did not endorse",
    ),
    "MVCC_READ_CONFLICT": ("something it had read was changed meanwhile", _AGAIN),
    "PHANTOM_READ_CONFLICT": ("a range it had read was changed meanwhile", _AGAIN),
    "UNKNOWN_TX_TYPE": ("the channel does not know transactions of its kind", _REPORT),
    "TARGET_CHAIN_NOT_FOUND": ("it is for another channel", "submit it to the channel it names"),
    "MARSHAL_TX_ERROR": ("it could not be written down again", _REPORT),
    "NIL_TXACTION": ("it has no action", _REPORT),
    "EXPIRED_CHAINCODE": ("its contract was replaced meanwhile", "have it endorsed again"),
    "CHAINCODE_VERSION_CONFLICT": (
        "it was endorsed under another version of the contract",
        "have it endorsed again",
    ),
    "BAD_HEADER_EXTENSION": ("the header does not name its contract", _REPORT),
    "BAD_CHANNEL_HEADER": ("header and action are about different contracts", _REPORT),
    "BAD_RESPONSE_PAYLOAD": ("the contract's response in it cannot be read", _REPORT),
    "BAD_RWSET": ("its read/write set cannot be read", _REPORT),
    "ILLEGAL_WRITESET": ("it names one namespace twice, or writes where it may not", _REPORT),
    "INVALID_WRITESET": ("a key that it writes is not valid", "correct the contract"),
    "INVALID_CHAINCODE": ("a contract that it calls or writes to is not defined", _DEFINED),
    "NOT_VALIDATED": ("it was not validated yet", "ask again"),
    "INVALID_OTHER_REASON": (
        "it breaks a rule that has no code of its own",
        "the node's log names the rule beside the transaction's id",
    ),
}


def explain_code(code: TxValidationCode) -> tuple[str, str]:
    """Why a transaction with this code is what it is, and the way out."""
    return _CODES[code.name]
