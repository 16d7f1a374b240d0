"""Makes what is shipped: the reports (`reports.py`) and the base models (`bases.py`). Nothing imports it."""
