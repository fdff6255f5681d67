"""What demo.py and test.py share: a virtual environment in the checkout, made and filled once.

Standard library only, and no syntax newer than Python 2.7, so that an old Python can still say what it lacks.
"""

import hashlib
import os
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OLDEST_PYTHON = (3, 11)
KNOWN_MINORS = (14, 13, 12, 11)


class Problem(Exception):
    """The machine lacks something; the message says what, and what to do about it."""


def check_python(version=None, script="scripts/demo.py"):
    """Raise `Problem` on a Python that is too old, naming a newer one if the machine has it."""
    version = tuple(version or sys.version_info)[:3]
    if version >= OLDEST_PYTHON:
        return
    newer = [name for name in ("python3.%d" % minor for minor in KNOWN_MINORS) if _works(name)]
    fix = "Run: %s %s" % (newer[0], script) if newer else "Install a newer one from https://www.python.org/downloads/"
    raise Problem("Python %d.%d or newer is needed; this is Python %s (%s).\n%s"
                  % (OLDEST_PYTHON + (".".join(map(str, version)), sys.executable, fix)))


def _works(name):
    """Whether this interpreter is on the path and starts: version managers put names there that do not."""
    try:
        with open(os.devnull, "w") as nowhere:
            return subprocess.call([name, "-c", ""], stdout=nowhere, stderr=nowhere) == 0
    except OSError:
        return False


def check_venv():
    """Raise `Problem` if this Python cannot make a virtual environment with pip in it."""
    for module in ("venv", "ensurepip"):
        try:
            __import__(module)
        except ImportError:
            raise Problem("This Python (%s) has no module `%s`, which makes virtual environments.\n"
                          "On Debian and Ubuntu: sudo apt install python%d.%d-venv\n"
                          "Elsewhere: install Python from https://www.python.org/downloads/"
                          % ((sys.executable, module) + tuple(sys.version_info[:2])))


def python_of(folder):
    """The interpreter of the virtual environment in `folder`."""
    if os.name == "nt":
        return os.path.join(folder, "Scripts", "python.exe")
    return os.path.join(folder, "bin", "python")


def prepare(name, requirements, hint=""):
    """Make the environment ROOT/name with `requirements` installed, unless it holds them already; return its Python.

    `hint` tells the reader what the installation brings and how long it may take.
    """
    check_venv()
    folder = os.path.join(ROOT, name)
    python = python_of(folder)
    stamp = os.path.join(folder, "installed")
    wanted = _fingerprint(requirements)
    if os.path.exists(python) and _read(stamp) == wanted and call([python, "-c", ""]) == 0:
        step("The environment %s is ready (pyproject.toml has not changed since it was made)" % name)
        return python
    step("Making a virtual environment in %s" % name)
    if call([sys.executable, "-m", "venv", "--clear", folder]) != 0:
        raise Problem("The virtual environment could not be made in %s; the lines above say why.\n"
                      "Is the disk full, or the folder not writable?" % folder)
    step("Installing %s%s" % (" ".join(requirements), hint and " (%s)" % hint))
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"] + list(requirements)
    if call(command) != 0:
        raise Problem("pip could not install %s; its lines above say why.\n"
                      "It needs the network (or an index of yours, set with PIP_INDEX_URL): is this machine online?\n"
                      "Run the same command again once that is mended." % " ".join(requirements))
    with open(stamp, "w") as file:
        file.write(wanted)
    return python


def _fingerprint(requirements):
    with open(os.path.join(ROOT, "pyproject.toml"), "rb") as file:
        text = file.read()
    # The folder is part of it: an environment that was moved or copied points back to where it was made.
    parts = [ROOT, sys.version, sys.executable] + list(requirements)
    return hashlib.sha256(text + "\n".join(parts).encode("utf-8")).hexdigest()


def _read(path):
    if not os.path.exists(path):
        return None
    with open(path) as file:
        return file.read()


def call(command):
    """Run in the checkout; the exit status."""
    sys.stdout.flush()
    return subprocess.call(command, cwd=ROOT)


def step(text):
    sys.stdout.write("==> %s\n" % text)
    sys.stdout.flush()


def main(run, script):
    """Call `run(arguments)` and exit with what it returns; a `Problem` is told in plain words."""
    start = time.time()
    try:
        check_python(script=script)
        status = run(sys.argv[1:])
    except Problem as problem:
        sys.stdout.flush()
        sys.stderr.write("\nCannot go on. %s\n" % problem)
        status = 2
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped.\n")
        status = 130
    if status == 0:
        step("Done in %.0f s" % (time.time() - start))
    sys.exit(status)
