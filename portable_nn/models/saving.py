"""A model in a folder: `model.safetensors`, the arrays, and `config.json`, everything else.

The folder holds one whole model at every moment, wherever a save is cut off. The weights are first written under a name
with their SHA-256; then config.json, which tells that number, is replaced: from here on the new model is the one that
loads; last the weights take the name model.safetensors. A reader takes the file whose content has the number.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

from portable_nn.backend.errors import FileError
from portable_nn.data import files
from portable_nn.models.registry import DAMAGED, Plan, take_apart

FORMAT = "portable_nn model 1"
WEIGHTS, CONFIG = "model.safetensors", "config.json"
_PENDING = re.compile(r"model\.[0-9a-f]{64}\.safetensors")


def save(model: Any, folder: str | Path) -> None:
    """Write a model, or a pipeline of one, so that `load` gives it back; an older one in the folder is replaced.

    Parameters
    ----------
    model : MLP, TextClassifier, TextPipeline or another class of `models.registry`
        On any device.
    folder : str or Path
        Made if it is missing. Other files in it are left alone. One process may save into it at a time.

    Raises
    ------
    ArgumentError
        The class is not in the registry.
    FileError
        The folder cannot be written. What was in it before is still there.
    """
    config, arrays = take_apart(model)
    content = files.arrays_to_bytes(arrays)
    digest = hashlib.sha256(content).hexdigest()
    folder = files.as_path(folder)
    pending, is_new = _pending(folder, digest), not folder.exists()
    try:
        try:
            files.write_bytes(pending, content)
            files.write_json(folder / CONFIG, {"format": FORMAT, "weights": {"sha256": digest}, "model": config})
        except BaseException:
            _clear_up(folder, pending, is_new)
            raise
        files.rename(pending, folder / WEIGHTS)
        for path in folder.iterdir():  # what an earlier save that was cut off has left
            if _PENDING.fullmatch(path.name):
                path.unlink()
    except OSError as error:
        raise FileError("a folder that can be written", f"{folder}: {error}",
                        "free space, or choose another folder") from error


def _clear_up(folder: Path, pending: Path, is_new: bool) -> None:
    if folder.is_dir():
        pending.unlink(missing_ok=True)
        if is_new and not any(folder.iterdir()):
            folder.rmdir()


def load(folder: str | Path, device: str = "cpu") -> Any:
    """Read what `save` wrote, in evaluation mode.

    Everything is checked before it is used: nothing is allocated on the word of a damaged file, and no code is run that
    a file names.

    Parameters
    ----------
    folder : str or Path
    device : str
        Where to put the model.

    Raises
    ------
    FileError
        The folder or a file is missing, truncated, damaged, or does not hold what it says.
    DeviceError
        There is no such device.
    """
    folder = files.as_path(folder)
    if not folder.is_dir():
        raise FileError(f"a folder with {WEIGHTS} and {CONFIG}", f"no folder {folder}",
                        "pass a folder that save() wrote")
    plan, weights = _checked(folder)
    model = plan.put_together(files.read_arrays(weights)[0])
    if device != "cpu":
        model.to(device)
    return model


def _checked(folder: Path) -> tuple[Plan, Path]:
    """The plan of a folder's model and the file of its arrays, whose names, dtypes, shapes and content are right."""
    config = files.read_json(folder / CONFIG)
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        found = config.get("format") if isinstance(config, dict) else type(config).__name__
        raise FileError(f"{FORMAT!r} as the format in {folder / CONFIG}", f"{found!r:.60}",
                        "pass a folder that save() of this version wrote")
    plan = Plan(config.get("model"))
    digest = config["weights"].get("sha256") if isinstance(config.get("weights"), dict) else None
    if not isinstance(digest, str) or not re.fullmatch("[0-9a-f]{64}", digest):
        raise FileError(f"the SHA-256 of the weights in {folder / CONFIG}", f"{digest!r:.60}", DAMAGED)
    pending = _pending(folder, digest)
    weights = pending if pending.is_file() else folder / WEIGHTS
    plan.check(files.describe_arrays(weights))
    if _sha256(weights) != digest:
        raise FileError(f"the weights that {folder / CONFIG} was saved with in {weights.name}", "others", DAMAGED)
    return plan, weights


def _pending(folder: Path, digest: str) -> Path:
    return folder / f"model.{digest}.safetensors"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
