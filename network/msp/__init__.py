"""Membership: which certificates speak for which member, and in what role."""

from network.msp.certificate import ATTRIBUTES_OID, Certificate
from network.msp.directory import MSPManager
from network.msp.folder import load_msp_folder
from network.msp.identity import (
    ADMIN,
    CLIENT,
    MEMBER,
    ORDERER,
    PEER,
    Identity,
    SigningIdentity,
    serialize_identity,
    split_identity,
)
from network.msp.provider import MSP

__all__ = [
    "ADMIN",
    "ATTRIBUTES_OID",
    "CLIENT",
    "MEMBER",
    "MSP",
    "ORDERER",
    "PEER",
    "Certificate",
    "Identity",
    "MSPManager",
    "SigningIdentity",
    "load_msp_folder",
    "serialize_identity",
    "split_identity",
]
