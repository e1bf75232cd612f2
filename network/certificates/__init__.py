"""Certificates of a member, made by the member itself: authorities, nodes, users, revocation.

The folders are Fabric's MSP folders, so that Fabric's own tools and clients read them. Identities
and TLS have separate root authorities. Absent: a server that issues certificates on request, keys
in hardware, and the taking over of a revocation by a channel, which is a change of configuration.
"""

from network.certificates.authority import Validity
from network.certificates.organisation import Organisation, create_organisation
from network.certificates.rotation import issued_before, retire_authorities, rotate_authorities

__all__ = [
    "Organisation",
    "Validity",
    "create_organisation",
    "issued_before",
    "retire_authorities",
    "rotate_authorities",
]
