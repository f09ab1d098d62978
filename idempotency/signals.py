"""What the app tells whoever watches it: four of Django's signals, for the project's own as well.

Sent when it has happened, in the thread in which it did, outside of any transaction of the app's. A
receiver that fails is logged and harms nothing; one that is slow makes the request slow.
"""

from django.dispatch import Signal

journaled = Signal()
"""Entries of a key's journal have been committed, or the key was taken to be worked on.

Sender: None. Arguments: `key`, the row, whose `operation` is the name; `attempt`, its number;
`entries`, as the journal has them, without their times.
"""

answered = Signal()
"""A request has its answer, or the completer is done with one for now.

Sender: None. Arguments: `operation`, its name; `outcome`, a status as text, `replayed`, or the code
of an error; `seconds`; `source`, which is `client` or `completer`; `idempotency_key`, as the client
sent it, or an empty text.
"""

job_ended = Signal()
"""A worker of the queue is done with a delivery, well or not.

Sender: None. Arguments: `job_name`; `outcome`, `done` or `failed`; `seconds`.
"""

batch_ended = Signal()
"""A worker's loop has run a batch, of nothing perhaps.

Sender: None. Arguments: `worker`, the command's name; `batch`.
"""
