"""Makes what the course stands on: the reports (`reports.py`), their pictures (`pictures.py`) and the base models (`bases.py`). No notebook imports it."""
