"""A stand-in for Stripe, over real HTTP, for the demo and the tests.

It behaves as Stripe's documentation says for the few resources that rides use, keeps its own ledger
of charges, and fails on demand. It is a process of its own (`python -m sandbox.stripe`), does
not use Django, and is never imported in production.
"""
