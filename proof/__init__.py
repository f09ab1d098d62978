"""Proofs that take longer than a test; nothing of `rides` or `idempotency` imports them.

`invariants` say what must hold; `bookings`, `receipts` and `undoing` are the experiments; `bugs`,
`model` and `chaos` are what is done to them; `failover`, `losses`, `rolling` and `evidence` are
commands, as `chaos` is. See docs/testing.md.
"""
