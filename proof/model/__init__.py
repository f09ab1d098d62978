"""The model: any order of things that can happen, and what may become of it.

`states` and `reference` are the theory, `known` what is kept of a key and compared with it,
`mishaps` how something is done while something goes wrong, `stage` where, and `service` the rules
of the state machine that Hypothesis drives; those of money that goes back are in `going_back`, with
their theory.
"""
