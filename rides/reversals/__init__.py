"""Refunds and disputes as rows of the rides' history, and what a person decides on open ones."""
