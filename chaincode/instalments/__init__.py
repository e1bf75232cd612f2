"""The consortium's contracts: what an instalment, a default and a release are, under written rules."""
