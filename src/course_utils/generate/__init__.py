"""Makes what the course stands on: the reports (`reports.py`) and the base models (`bases.py`). No notebook imports it."""
