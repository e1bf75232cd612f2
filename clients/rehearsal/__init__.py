"""A rehearsal: members live through past months under a policy before they enforce it.

Read `plan` (the policy file), `portfolio` (the folder's files by day), `network` (four nodes and
their clock), `desks` (the officers who sign), `day` (what happens on one day, in the rulebook's
order), `report` (what the ledger says came out), `show` (how it is told) in this order.

Everything the report says is read from the ledger, not remembered from what was submitted.
"""
