"""The orderer's service on the node port: how the other nodes of a `solo` channel reach it.

`service` speaks ``orderer.AtomicBroadcast``; what is admitted and where a block ends is decided in
`network.ordering`.
"""
