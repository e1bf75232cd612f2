"""The engine `cometbft`: every member's node orders, and no single one decides the order.

Beside each node runs a CometBFT process. It agrees with those of the other members on the order of
opaque transactions and asks this node, through ABCI, what they mean.

Ours to CometBFT
    messages/: its protobuf messages · framing, server: ABCI over a unix socket · rpc, conversions:
    its RPC over another · sockets: both · home: its folder · binary, process: its program, running
    settings: what it is told · genesis, changes, validators: what follows from the configuration

What it orders
    bundle: envelopes that a node vouches for · gathering, making, sending, submission: a node's own
    rules, judged, window, quota, selection: which bundles are ordered · begun: checks ahead of time
    application: the answers to ABCI · ordered, app_hash: the block of a height and what it proves
    recorded: heights that are there already · retention: how far back CometBFT keeps its own

Proof and beginning
    finality, vote_signature, records, keeper: why a block is final, kept beside it
    proofs, proof_making, proof_file: a block that proves itself to whoever has the genesis block
    beginning, sign_guard: with what a node begins, and that it signs nothing twice
    snapshots, snapshot_…: state sync · relay, light_rpc: what its light client asks of others

As a node sees it
    engine, running, health: the engine · ports: what its parts ask of each other · errors
"""
