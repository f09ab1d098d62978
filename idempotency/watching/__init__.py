"""What is seen of the service from outside: its log, its numbers, its workers.

It listens to `signals`, and the heart knows nothing of it.
"""
