"""The book: devices, agreements, payments, schedules and what follows from them on a day.

Invariants: an agreement's standing is one summary key; no key is written by transactions about
different agreements. Deliberately absent: cases and what ends them (`cases`), who the members are
(`members`), prices and amounts as such (`terms`).
"""
