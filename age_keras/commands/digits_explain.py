"""Draw where a recogniser of digits looked: attention, Grad-CAM and Shapley values."""

from pathlib import Path

import tyro

from age_keras.errors import InputError


def main(
    model: tyro.conf.Positional[Path],
    images: tyro.conf.Positional[tuple[Path, ...]],
    out: Path = Path("digits.png"),
) -> None:
    """Writes one picture with a row per image: the image as the model sees it, and what its answer rests on.

    Args:
        model: a .keras file from the checkpoints folder of an experiment of digits.
        images: pictures of one character each, any size, dark on light or light on dark.
        out: the PNG file.
    """
    if not images:
        raise InputError("no image was given: name pictures of one digit each.")
    if out.suffix.lower() != ".png":
        raise InputError(f"--out must be a .png file, not {out}.")
    import numpy as np

    from age_keras.characters.data.images import read_character
    from age_keras.characters.explain_figure import save_explanations
    from age_keras.characters.model.looks import one_look
    from age_keras.characters.reader import Recogniser

    recogniser = Recogniser(model)
    pixels = np.stack([read_character(path, recogniser.image_size) for path in images])
    titles = [
        f"{r.digit} ({100 * r.probability:.1f} %){', unsure' if r.unsure else ''}" for r in recogniser.read(images)
    ]
    save_explanations(out, one_look(recogniser.model), pixels, titles)
    print(f"Wrote {out}")
