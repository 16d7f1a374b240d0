"""Makes what the course stands on; no notebook imports it.

The reports (`reports.py`), their pictures (`pictures.py`) and the base models (`bases.py`).
"""
