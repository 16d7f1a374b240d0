"""The exercises of 02_fine_tune_every_weight."""

CHECKERS = {}
