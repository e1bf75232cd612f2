"""The commands with which a member creates and runs its node, or a whole network on one machine.

`qist.py` mounts five words, each a typer application in a module of its own: `org`, `channel`,
`node`, `network`, `fsck`. A command reads its arguments, calls functions of this room and prints;
what it calls can be called without a terminal. Exit codes and the form of errors are in
docs/howto/run-a-node.md.

Absent: everything that talks to a node as a client does (`clients.cli`).
"""
