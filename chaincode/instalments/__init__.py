"""The consortium's contracts: instalments, defaults and releases under written rules.

| rulebook | where |
|---|---|
| 1 members, officers, policy | `members.py`, `officers.py`, `policy.py`, `governance/` |
| 1 endorsement, the ledger day | `endorsement.py`, `terms.py`, `ledger_day.py` |
| 2 devices, agreements, payments, schedules | `book/`, `terms.py`, `identifiers.py`, `money.py` |
| 2 holds | `cases/hold.py` |
| 3 standing | `arrears.py`, `book/track.py`, `book/money.py` |
| 4 the case, its states and releases | `cases/` |
| 5 ballots, orders, breakers, tiers | `cases/`, `governance/{months,instruments}.py` |
| 6 verdicts and refusals | `verdicts.py`, `book/bulk.py`, `cases/bulk.py` |

Which namespace offers what: `contracts.py`.
"""
