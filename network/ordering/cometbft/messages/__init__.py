"""CometBFT's protobuf messages, as far as this node speaks them; made by `make messages`.

`abci_pb2` has the requests and responses of ABCI 2.0; `types_pb2` headers, commits and votes;
`canonical_pb2` what validators sign; `validator_pb2` and `keys_pb2` who they are; `params_pb2` the
consensus parameters; `proof_pb2` and `version_pb2` what the others need. `sources.json` says what
they were made from. Their packages are named `qist.cometbft.…`, which no other library uses.

A module is imported by its name: `from network.ordering.cometbft.messages import abci_pb2`.
"""
