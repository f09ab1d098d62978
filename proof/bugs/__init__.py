"""Known bugs, to be planted one at a time: what each of them breaks, a check must notice.

This is the one proof that the checks can fail. Each bug changes the code from here, in the way in
which somebody might get it wrong, and names the trial that brings it to light and the checks that
must catch it there. The code itself has no switch for any of them.
"""

from proof.bugs import charges, events, leases, pending, phases, receipts
from proof.bugs.planting import BUGS, Bug, Scene

__all__ = ["BUGS", "Bug", "Scene", "charges", "events", "leases", "pending", "phases", "receipts"]
