"""The case (rulebook 4 and 5), one module a rule.

| rule | module |
|---|---|
| what state a case is in on a day | `state.py` |
| days that count, deadlines, holds standing still | `clock.py` |
| when a case opens | `trigger.py` |
| notice, waiting period, proposal | `notice.py`, `proposal.py` |
| electorate, quorum, deciding ballot | `vote.py` |
| block order, executors' receipts | `order.py`, `receipt.py` |
| holds | `hold.py` |
| cure, withdrawal, write-off, death, term | `ending.py`, called by payments through `hook.py` |
| release orders and their receipts | `release.py` |
| the records themselves | `case.py`, `docket.py` |
"""
