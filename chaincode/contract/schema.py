"""Machine-readable metadata of a contract, in the form of Fabric's contract API.

The document that `org.hyperledger.fabric:GetMetadata` answers: contracts, their transactions with
parameters and returns as JSON Schema, the record types once under `components.schemas`. Additions
of ours are keywords that JSON Schema leaves free to readers: none.
"""
