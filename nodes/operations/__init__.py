"""What the operator of a node sees and steers.

`control` is the operator's socket, `status` what it tells, `logs` the form of the log, `backup` the
archive of a node.
"""
