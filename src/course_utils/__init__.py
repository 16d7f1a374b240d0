"""Helpers of the fine-tuning course: the plumbing, so that the notebooks can show the ideas.

Data and text modules know no models; training and evaluation know no files of ours; figures know only numbers.
"""

import os
import warnings

__version__ = "0.1.0"

# On a busy two-core machine, threads that spin while they wait make small models many times slower. Read when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
warnings.filterwarnings("ignore", message="IProgress not found")  # the bars are plain text here, by choice
