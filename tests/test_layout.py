"""Who may import whom, and that the maps of the package name each module with the notebooks that use it."""

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest

import course_utils
import stored
from course_utils import paths
from course_utils.authoring import imports, render, run

PACKAGE = Path(course_utils.__file__).parent
FOLDERS = {"authoring", "generate", "experiments"}
GROUPS = {  # of flat modules, and which groups each may import
    "places": ({"paths"}, set()),
    "numbers": ({"metrics", "calibration", "figures"}, {"numbers"}),
    "data and text": (
        {"tables", "columns", "data", "validate", "twins", "terms", "context", "augment", "leaks"},
        {"places", "numbers", "data and text"},
    ),
    "models": ({"models", "adapt", "training", "trainer", "causal"}, {"places", "numbers", "models"}),
    "machine": ({"machine", "session", "costs"}, {"places", "numbers", "data and text", "models", "machine"}),
    "yours": (
        {"suitability", "fit", "page"},
        {"numbers", "data and text", "models", "machine", "yours"},
    ),
    "results": ({"results"}, {"places"}),
    "shipping": (
        {"export", "serve", "service", "bulk", "registry", "tracking"},
        {"places", "numbers", "models", "shipping"},
    ),
}
MAY_BESIDES = {  # the one reader, and how names are compared
    "serve": {"tables"},
    "export": {"tables"},
    "bulk": {"tables"},
}
