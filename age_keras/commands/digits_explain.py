"""Show what a recogniser's answers rest on: attention, Grad-CAM and Shapley values."""

from pathlib import Path

import tyro

from age_keras.errors import InputError
from age_keras.files import writing


def main(
    model: tyro.conf.Positional[Path],
    images: tyro.conf.Positional[tuple[Path, ...]],
    out: Path = Path("digits.png"),
) -> None:
    """Writes one figure with a row per image: the image as the model sees it, and what its answer rests on.

    Args:
        model: A .keras file from the checkpoints folder of a digits experiment.
        images: Pictures of one character each, of any size, dark on light or light on dark.
        out: The PNG file to write.
    """
    if not images:
        raise InputError("No image was given: name pictures of one character each.")
    if out.suffix.lower() != ".png":
        raise InputError(f"--out must be a .png file, not {out}.")
    if not model.is_file():
        raise InputError(f"There is no model {model}: give a .keras file from a run's checkpoints folder.")
    import numpy as np

    from age_keras.characters.data.images import read_character
    from age_keras.characters.explain import save_explanations
    from age_keras.characters.model.test_time_augmentation import single_view
    from age_keras.characters.reader import Recogniser

    recogniser = Recogniser(model)
    pixels = np.stack([read_character(path, recogniser.image_size) for path in images])
    titles = [
        f"{r.digit} ({100 * (r.probability or 0):.1f} %){', unsure' if r.unsure else ''}"
        for r in recogniser.read(images)
    ]
    with writing(out):
        save_explanations(out, single_view(recogniser.model), pixels, titles)
    print(f"Wrote {out}")
