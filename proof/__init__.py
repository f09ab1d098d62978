"""Proofs that take longer than a test: chaos over real processes. See docs/testing.md."""
