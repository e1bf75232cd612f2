"""The case (rulebook 4 and 5), one module a rule.

| rule | module |
|---|---|
| what state a case is in on a day | `state.py` |
| what ends by date: deadlines, 180 days, a milder policy, the lender gone | `state.py` |
| days that count, deadlines, holds standing still | `clock.py` |
| when a case opens, and is closed | `trigger.py` |
| notice, waiting period, proposal | `notice.py`, `proposal.py` |
| electorate, quorum, deciding ballot | `vote.py` |
| block order, executors' receipts | `order.py`, `receipt.py` |
| circuit breakers | `breaker.py` |
| holds | `hold.py` |
| cure, withdrawal, write-off, death, term | `ending.py`, called by payments through `hook.py` |
| release orders and their receipts | `release.py` |
| the records of each namespace | `case.py`, `outcome.py` |
| all that one transaction reads and changes of them | `docket.py` |
| indices by date | `index.py` |
| functions and queries of `enforcement` | `functions.py`, `queries.py` |
| functions and queries of `instalments` | `releasing.py`, `release_queries.py` |
| what they take and answer | `inputs.py`, `views.py`, `bulk.py` |
"""
