"""The WSGI application: for a server that has each request whole before a thread sees it.

The Procfile serves `rocketrides.asgi`, whose door does that itself.
"""

import gc
import os

from django.core.wsgi import get_wsgi_application

from rocketrides.cores import keep_to_one_core_if_asked

keep_to_one_core_if_asked()  # first, because threads take it over from the one that starts them

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "rocketrides.settings")

application = get_wsgi_application()

# What is loaded now stays: the collector need not look through it again and again, which took one
# part in twenty-five of a request's time.
gc.collect()
gc.freeze()
