"""The door: between the server and Django, so that no thread waits for a client's bytes."""

from rocketrides.door.door import Door

__all__ = ["Door"]
