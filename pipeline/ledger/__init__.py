"""The ledger: what has been done, so that nothing is lost and nothing is done twice.

Four shelves: `runs`, `letters`, `messages`, `deliveries`; and `story`, which reads them back to
people. Every write is conditional, and the number of rows it touched is the answer: a worker that
comes too late changes nothing.
"""
