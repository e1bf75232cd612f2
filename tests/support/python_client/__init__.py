"""The scenarios that every client must have, with our own SDK.

    python -m tests.support.python_client SETTINGS.json TABLE.json

TABLE.json lists the scenarios; SETTINGS.json describes a network (tests/support/client_network.py),
which may be any Fabric network that has the contract of the scenarios. A line of JSON is printed
for each scenario: {"scenario", "passed", "ms", "error"}. The exit code is 0 whenever all were run.
"""
