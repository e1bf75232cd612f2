"""The engine `cometbft`: every member's node orders, and no single one decides the order.

Beside each node runs a CometBFT process. It agrees with those of the other members on the order of
opaque transactions and asks this node, through ABCI, what they mean.

Wire and process: `messages/` are CometBFT's protobuf messages; `ports.py` says what an application
answers; `framing.py` and `server.py` speak ABCI over a unix socket; `rpc.py` asks CometBFT over
another one, `conversions.py` reads what it answers; `sockets.py` makes and reaches both sockets.
`home.py` writes CometBFT's folder, `binary.py` finds its program, `process.py` keeps it running.
"""
