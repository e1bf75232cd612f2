"""ABCI: CometBFT's questions over a unix socket, framed and answered in order."""
