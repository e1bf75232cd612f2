"""The engine `cometbft`: every member's node orders, and no single one decides the order.

Beside each node runs a CometBFT process. It agrees with those of the other members on the order of
opaque transactions and asks this node, through ABCI, what they mean.

    submit ─▶ bundles/ ─▶ process/ (CometBFT) ─▶ abci/ ─▶ application ─▶ blocks/ ─▶ the ledger
                                                                └─ finality/ beside each block

| room | for |
|---|---|
| `bundles/` | envelopes that a node vouches for, and the rules by which all judge them |
| `process/` | CometBFT: program, folder, settings, RPC, health |
| `abci/` | its questions, framed, in order; `messages/`: their protobuf, made from its files |
| `blocks/` | the Fabric block of a height, and the app hash that covers it |
| `finality/` | records and proofs that a block is final |
| `joining/` | block sync, state sync, lost data, and no vote twice |

Here: `engine` and `running` are the engine as a node sees it, `full_node` that of a member without
a vote; `application` answers ABCI; `genesis`, `changes` and `validators` are what follows from the
channel configuration; `ports` is what the parts ask of each other.
"""
