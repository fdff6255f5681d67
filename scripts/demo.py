"""Train the sentiment model on real sentences, from nothing but Python and this checkout.

    python3 scripts/demo.py [arguments of examples/sentiment.py]

Makes a virtual environment in .venv-demo, installs the package and the example's data, and runs the example.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import _environment

DEFAULTS = (
    ("--data", ["rotten_tomatoes"]),
    ("--save", [os.path.join("output", "sentiment")]),
    ("--plot", [os.path.join("output", "sentiment.png")]),
    ("--predict", ["A moving and beautifully acted film that stays with you.",
                   "A dull, lifeless mess that wastes a good cast."]),
)


def example_arguments(given):
    """What the example gets: the defaults that were not given, then the reader's own arguments."""
    names = [argument.split("=")[0] for argument in given if argument.startswith("--")]
    if "--load" in names or "--help" in names or "-h" in given:
        return list(given)  # a saved model answers by itself
    defaults = []
    for name, values in DEFAULTS:
        if name not in names:
            defaults += [name] + values
    return defaults + list(given)


def run(arguments):
    python = _environment.prepare(".venv-demo", ["-e", ".[examples]"], "about 130 MB from PyPI, a minute or two")
    command = [python, os.path.join("examples", "sentiment.py")] + example_arguments(arguments)
    if not os.path.isdir(os.path.join(_environment.ROOT, "output")):
        os.mkdir(os.path.join(_environment.ROOT, "output"))
    _environment.step("Running " + " ".join(_quoted(part) for part in command[1:]))
    return _environment.call(command)


def _quoted(text):
    return '"%s"' % text if " " in text else text


if __name__ == "__main__":
    _environment.main(run, "scripts/demo.py")
