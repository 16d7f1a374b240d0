"""Helpers of the fine-tuning course: the plumbing, so that the notebooks can show the ideas.

Data and text modules know no models; training and evaluation know no files of ours; figures know only numbers.
"""

__version__ = "0.1.0"
