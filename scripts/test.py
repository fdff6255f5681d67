"""Run the tests, the linter and the type checker, from nothing but Python and this checkout.

    python3 scripts/test.py [arguments of nox]

Makes a virtual environment in .venv-test, installs nox there, and runs nox; nox makes an environment for each session.
For example `python3 scripts/test.py -s tests -- -k linear`, or `python3 scripts/test.py --list`.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import _environment


def run(arguments):
    python = _environment.prepare(".venv-test", ["nox>=2024.4.15"])
    command = [python, "-m", "nox"] + list(arguments)
    _environment.step("Running nox %s" % (" ".join(arguments) or "(its default sessions: tests, lint, types)"))
    return _environment.call(command)


if __name__ == "__main__":
    _environment.main(run, "scripts/test.py")
