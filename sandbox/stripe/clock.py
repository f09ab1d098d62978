"""Stripe's clock, which tests set ahead of the machine's or behind it: it is another machine's.

What Stripe dates with it: each object's `created`, its own memory of keys, the `Date` of an answer.
"""

import time


class Clock:
    """The machine's clock, so many seconds ahead."""

    def __init__(self) -> None:
        self._ahead_seconds = 0.0
        self.moved_seconds = 0.0

    def now(self) -> float:
        """Return Stripe's time in Unix seconds."""
        return time.time() + self._ahead_seconds

    def set_ahead(self, seconds: float) -> None:
        """Set it so many seconds ahead of the machine's; a negative number sets it behind."""
        # How far `created` can be out of the order of creation, for lists to reckon with.
        self.moved_seconds += abs(seconds - self._ahead_seconds)
        self._ahead_seconds = seconds

    def clear(self) -> None:
        self._ahead_seconds = self.moved_seconds = 0.0


CLOCK = Clock()  # one for a process, as there is one Stripe
