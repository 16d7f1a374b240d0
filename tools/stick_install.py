"""Install the course from the folder that this file lies in, without a network: `python install.py [where]`."""

from __future__ import print_function

import os
import shutil
import subprocess
import sys

STICK = os.path.dirname(os.path.abspath(__file__))
COURSE = os.path.join(STICK, "course")
WHEELS = os.path.join(STICK, "wheels")
EXTRAS = "course,lab,clinical,onnx,http,bulk,registry,search,tracking,test"
OFFLINE = ["--no-index", "--find-links", WHEELS, "--disable-pip-version-check", "--no-compile", "--quiet"]


def problem(where):
    """Return a sentence on what stands in the way, else None."""
    sys.path.insert(0, os.path.join(COURSE, "tools"))
    import preflight

    said = preflight.check_python(sys.version_info) or preflight.check_venv(preflight.can_import)
    if said:
        return said
    mine = "cp%d%d" % sys.version_info[:2]
    if not any(name.startswith("torch-") and mine in name for name in os.listdir(WHEELS)):
        made = [name.split("-")[2] for name in os.listdir(WHEELS) if name.startswith("torch-")]
        return "This is Python %d.%d, and the wheels here are for %s: start install.py with that Python." % (
            sys.version_info[:2] + (", ".join(made),)
        )
    if os.path.exists(where):
        return "There is something in %s already: name another folder, as in `python install.py other`." % where
    above = os.path.dirname(where)
    while not os.path.exists(above) and above != os.path.dirname(above):  # the folders in between are made with it
        above = os.path.dirname(above)
    if not os.path.exists(above):
        return "There is no %s here: name a folder on a disk that is there." % above
    return preflight.check_disk(shutil.disk_usage(above).free, where)


def main(arguments):
    """Copy the course, make its environment, install into it; return the exit status."""
    where = os.path.abspath(arguments[0] if arguments else os.path.join(os.path.expanduser("~"), "finetune-course"))
    said = problem(where)
    if said:
        print(said, file=sys.stderr)
        return 1
    print("Installing into %s. This takes a few minutes and asks no network." % where)
    shutil.copytree(COURSE, where)
    venv = os.path.join(where, ".venv")
    subprocess.check_call([sys.executable, "-m", "venv", venv])
    python = os.path.join(venv, "Scripts", "python.exe") if os.name == "nt" else os.path.join(venv, "bin", "python")
    install = [python, "-m", "pip", "install"] + OFFLINE + ["-c", "constraints.txt", "-e", ".[%s]" % EXTRAS]
    status = subprocess.call(install, cwd=where)
    if status:
        print("The installation stopped: pip's last lines above say why. Remove %s before another try." % where)
        return status
    for stamp in (".core", ".installed"):  # so that `make lab` and `make course` find all done
        open(os.path.join(venv, stamp), "w").close()
    print("Done. Open the first notebook:\n  cd %s\n  %s -m jupyterlab notebooks/00_start_here.ipynb" % (where, python))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
