"""A plain Django view under the same server and settings: what there is to gain for a replay."""

from bench.contestants.http import OverHTTP
from bench.contestants.ours import api
from bench.load import Requests

PLAIN = OverHTTP(
    name="plain",
    title="a plain view: two SELECTs, JSON",
    starting=api,
    path="/plain",
    requests=lambda: Requests("get", "a-key-that-nobody-has-used"),
    asks_stripe=False,
    expected="200",
)
