"""Changing a channel's configuration as its members do: what is in force, wishes, files, sending.

Absent: what an update is and who must agree to it (`network.configuration`).
"""
