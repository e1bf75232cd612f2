"""Who may call what: the policy that guards each resource.

A channel may name another policy for a resource of the channel in its configuration; what concerns
one node only (its packages, its channels, its snapshots) is judged by the member's own MSP, and no
channel can change that.

Source: Fabric core/aclmgmt/defaultaclprovider.go, core/aclmgmt/resourceprovider.go.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

READERS: Final = "/Channel/Application/Readers"
WRITERS: Final = "/Channel/Application/Writers"

LOCAL_ADMINS: Final = "Admins"
"""Not a path: the caller must be an admin of the node's own member."""

LOCAL_MEMBERS: Final = "Members"
"""Not a path: the caller must be any identity of the node's own member."""

CHANNEL_ACLS: Final = MappingProxyType(
    {
        "_lifecycle/CommitChaincodeDefinition": WRITERS,
        # Ours: several definitions in one transaction, by whoever may commit one.
        "_lifecycle/CommitChaincodeDefinitions": WRITERS,
        "_lifecycle/QueryChaincodeDefinition": WRITERS,
        "_lifecycle/QueryChaincodeDefinitions": WRITERS,
        "_lifecycle/CheckCommitReadiness": WRITERS,
        "lscc/ChaincodeExists": READERS,
        "lscc/GetDeploymentSpec": READERS,
        "lscc/GetChaincodeData": READERS,
        "lscc/GetInstantiatedChaincodes": READERS,
        "lscc/GetCollectionsConfig": READERS,
        "qscc/GetChainInfo": READERS,
        "qscc/GetBlockByNumber": READERS,
        "qscc/GetBlockByHash": READERS,
        "qscc/GetTransactionByID": READERS,
        "qscc/GetBlockByTxID": READERS,
        "cscc/GetConfigBlock": READERS,
        "cscc/GetChannelConfig": READERS,
        "peer/Propose": WRITERS,
        "peer/ChaincodeToChaincode": WRITERS,
        "event/Block": READERS,
        "event/FilteredBlock": READERS,
        "gateway/CommitStatus": READERS,
        "gateway/ChaincodeEvents": READERS,
    }
)
"""Policy of each resource of a channel, unless the channel names another."""

LOCAL_ACLS: Final = MappingProxyType(
    {
        "_lifecycle/InstallChaincode": LOCAL_ADMINS,
        "_lifecycle/QueryInstalledChaincode": LOCAL_ADMINS,
        "_lifecycle/GetInstalledChaincodePackage": LOCAL_ADMINS,
        "_lifecycle/QueryInstalledChaincodes": LOCAL_ADMINS,
        "_lifecycle/ApproveChaincodeDefinitionForMyOrg": LOCAL_ADMINS,
        "_lifecycle/QueryApprovedChaincodeDefinition": LOCAL_ADMINS,
        "_lifecycle/QueryApprovedChaincodeDefinitions": LOCAL_ADMINS,
        "snapshot/submitrequest": LOCAL_ADMINS,
        "snapshot/cancelrequest": LOCAL_ADMINS,
        "snapshot/listpending": LOCAL_ADMINS,
        "lscc/Install": LOCAL_ADMINS,
        "lscc/GetInstalledChaincodes": LOCAL_ADMINS,
        "cscc/JoinChain": LOCAL_ADMINS,
        "cscc/JoinChainBySnapshot": LOCAL_ADMINS,
        "cscc/JoinBySnapshotStatus": LOCAL_ADMINS,
        "cscc/GetChannels": LOCAL_MEMBERS,
    }
)
"""What the node's own member decides, whatever the channel says."""
