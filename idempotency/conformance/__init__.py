"""Ask any HTTP API that takes idempotency keys whether it keeps what they promise.

`python -m idempotency.conformance URL --body '{"amount": 1}' --header "Authorization: Bearer …"`.
It needs nothing of the rest of the app, no Django settings and no database.
"""
