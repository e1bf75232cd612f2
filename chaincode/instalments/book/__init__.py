"""The book: devices, agreements, payments, schedules and what follows from them on a day.

| rule (rulebook 2) | module |
|---|---|
| TACs, devices, exchanges | `devices.py` |
| agreements, confirmations, revisions | `agreements.py`, with `../terms.py` |
| payments, refunds, reversals | `payments.py` |
| write-off, death, clearance certificate | `endings.py` |
| an agreement and its one summary key | `position.py`, `accounts.py` |
| its money: terms, what was paid, the account | `money.py`, `../circles.py` |
| what everybody may see of its standing | `track.py` |
| totals, a key per transaction | `totals.py` |
| what every function needs: signer, members | `desk.py` |
| what the book asks of the cases | `ports.py` |
| functions and queries of `instalments` | `functions.py`, `queries.py` |
| what they take and answer | `inputs.py`, `views.py`, `bulk.py` |

Invariants: an agreement's standing is one summary key; no key is written by transactions about
different agreements. Deliberately absent: cases and what ends them (`cases`), who the members are
(`members`), prices and amounts as such (`terms`).
"""
