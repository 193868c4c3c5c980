"""From a checkpoint to a saved feature extractor."""

import contextlib
import errno
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from age_keras.backbones.registry import get_spec
from age_keras.config.model import Preprocessing
from age_keras.errors import InputError

if TYPE_CHECKING:
    import keras


def convert(
    name: str,
    checkpoint: Path,
    out: Path,
    image_size: int | None = None,
    preprocessing: Preprocessing = "native",
) -> "keras.Model":
    """Builds a backbone, loads a file into it and saves it.

    Args:
        name: A registered name.
        checkpoint: A published PyTorch checkpoint or a Keras file.
        out: The `.keras` file to write.
        image_size: The side of the input in pixels. Defaults to the published one.
        preprocessing: See `build_backbone`.

    Returns:
        The model that was saved.

    Raises:
        InputError: A wrong name, size or suffix, a checkpoint that does not fit, or a file that cannot be written.
    """
    spec = get_spec(name)
    if out.suffix != ".keras":
        raise InputError(f"{out} must end in .keras.")
    spec.check_image_size(spec.image_size if image_size is None else image_size)
    if not checkpoint.is_file():
        raise InputError(f"There is no checkpoint {checkpoint}.")
    spec.check_weights(checkpoint)
    with _writing(out):
        if out.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        nearest = next(folder for folder in out.absolute().parents if folder.exists())
        tempfile.TemporaryDirectory(dir=nearest).cleanup()  # Only trying tells whether it can be written to.
    # Keras starts only now: a wrong name or file has been answered at once.
    from age_keras.backbones.build import build_backbone
    from age_keras.backbones.checkpoints.weights import licence_notice, load_file

    model = build_backbone(name, image_size, preprocessing=preprocessing)
    load_file(model, spec, checkpoint)
    for source in spec.weights.values():
        if notice := licence_notice(spec, source):
            print(notice, file=sys.stderr)
    with _writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.stem}.") as folder:
            whole = Path(folder) / out.name
            model.save(whole)
            os.replace(whole, out)
    return model


@contextlib.contextmanager
def _writing(out: Path) -> Iterator[None]:
    """What the disk says against writing a file, in one sentence."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{out} cannot be written: {reason}. Give another OUT.keras.") from error
