"""The exercises of 04_tune_a_prompt."""

CHECKERS = {}
