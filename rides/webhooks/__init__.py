"""Stripe's events: received, written down once, and what each has done. Stripe is asked for all
that an event claims, by the functions that the completer and the nightly run use.
"""
