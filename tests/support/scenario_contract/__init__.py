"""The contract that the scenarios of clients call."""
