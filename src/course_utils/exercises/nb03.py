"""The exercises of 03_adapt_with_lora."""

CHECKERS = {}
