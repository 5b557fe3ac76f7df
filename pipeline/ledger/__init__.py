"""The ledger: what has been done, so that nothing is lost and nothing is done twice.

Shelves: `runs`, `letters`, `messages`, `deliveries`; `holds` and `renewal`, which hold a run back
and take corrections into it; `starts`, which say what the schedule has begun; `choice` and
`hindrances`, which say what may be sent again; and `story`, `account` and `files`, which read it
all back. Every write is conditional, and the number of rows it touched is the answer: a worker that
comes too late changes nothing.
"""
