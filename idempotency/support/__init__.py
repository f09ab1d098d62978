"""What several rooms stand on, one concept a file; to be opened when one of them leads here.

Nothing here imports a room: only settings, exceptions and models.
"""
