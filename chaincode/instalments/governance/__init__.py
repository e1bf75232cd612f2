"""Governance (rulebook 1): how the consortium is founded and decides about itself.

| rule | module |
|---|---|
| the founding transaction | `founding.py` |
| ballots on policy and membership | `motion.py` |
| stopping all block orders | `stop.py` |
| legal instruments | `instruments.py` |
| a month's limits of block orders | `months.py` |
| what the contract offers of it | `functions.py`, `queries.py` |

Members, officers, policy versions and the ledger day stand beside this folder, since every other
rule reads them.
"""
