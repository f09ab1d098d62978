"""The application that Granian serves: Django behind its door."""

import contextlib
import gc
import os
import resource
import signal

import django

from rocketrides.cores import keep_to_one_core_if_asked

# Until Granian's handlers are set, a worker has those of the main process, of which it was forked:
# a SIGTERM that comes while all of this is imported would be noted there, and never acted on.
signal.signal(signal.SIGTERM, signal.SIG_DFL)

keep_to_one_core_if_asked()  # first, because threads take it over from the one that starts them

# A connection is a file, and the usual limit of 1,024 is less than the server may have open.
with contextlib.suppress(ValueError, OSError):
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "rocketrides.settings")
django.setup(set_prefix=False)

from rocketrides.door import Door  # noqa: E402 - it needs the settings

application = Door()

# What is loaded now stays: the collector need not look through it again and again, which took one
# part in twenty-five of a request's time.
gc.collect()
gc.freeze()
