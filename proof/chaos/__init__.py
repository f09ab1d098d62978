"""Chaos over real processes: the world that it strikes, the clients, and the verdict.

`python -m proof.chaos` runs it; failovers, losses and rolling restarts have the same world.
"""
