"""Look for what would stop the installation, and say in one sentence what to do about it.

`preflight.py` runs before there is an environment, so it is written for any Python, however old.
`preflight.py --index` runs with the new environment's Python and asks pip for one small package.
"""

from __future__ import print_function

import os
import subprocess
import sys
import tempfile

MIN_PYTHON = (3, 11)
MIN_FREE_GB = 4.0
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def check_python(version):
    """Take a version tuple; return a sentence if it is too old, else None."""
    if tuple(version[:2]) >= MIN_PYTHON:
        return None
    return (
        "This is Python %d.%d and the course needs 3.11 or newer: install one from python.org, "
        "then name it, for example `make course PYTHON=python3.11`." % tuple(version[:2])
    )


def check_venv(can_import):
    """Take a function that says if a module can be imported; return a sentence if `venv` can't work."""
    if can_import("venv") and can_import("ensurepip"):
        return None
    return (
        "This Python can't make environments, because its venv module is missing or incomplete: "
        "install it (on Debian and Ubuntu: `sudo apt install python3-venv`), then run the command again."
    )


def check_disk(free_bytes, folder):
    """Take the free bytes of a folder's disk; return a sentence if the course does not fit."""
    free_gb = free_bytes / 1e9
    if free_gb >= MIN_FREE_GB:
        return None
    return (
        "The disk of %s has %.1f GB free and the installation needs about %.0f GB: "
        "free some space or move this folder to a larger disk, then run the command again."
        % (folder, free_gb, MIN_FREE_GB)
    )


def check_index(python):
    """Take a Python with pip; return a sentence if pip can't fetch one small package."""
    target = tempfile.mkdtemp()
    command = [python, "-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir"]
    command += ["--retries", "0", "--timeout", "20", "--dest", target, "packaging"]
    pip = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output = pip.communicate()[0].decode("utf-8", "replace").strip()
    if pip.returncode == 0:
        return None
    return (
        "pip can't fetch packages from its index: check the network or the proxy, or point PIP_INDEX_URL "
        "to a mirror that you can reach, then run the command again (pip's last line was: %s)."
        % (output.splitlines() or ["nothing"])[-1]
    )


def can_import(name):
    """Say if a module can be imported."""
    try:
        __import__(name)
    except ImportError:
        return False
    return True


def main(arguments):
    """Print the first problem found and return 1, or return 0."""
    if "--index" in arguments:
        problem = check_index(sys.executable)
    else:
        problem = check_python(sys.version_info) or check_venv(can_import)
        if not problem:
            import shutil  # disk_usage is not there in an old Python

            problem = check_disk(shutil.disk_usage(ROOT).free, ROOT)
    if problem:
        print(problem, file=sys.stderr)
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
