"""Write a contact sheet of patches and their augmented copies."""

from pathlib import Path
from typing import Annotated

import tyro

from age_keras.errors import InputError


def main(
    folder: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="DIR|none")]],
    policy: str = "handwriting",
    strength: float = 1.0,
    out: Path = Path("preview.png"),
    patches: int = 6,
    views: int = 5,
    seed: int = 0,
    labels: Path | None = None,
    image_size: int | None = None,
) -> None:
    """Writes a contact sheet of patches and their augmented copies, to be looked at before a training.

    Args:
        folder: the folder of pages, or `none` for synthetic pages.
        policy: none, published or handwriting.
        strength: multiplies every range of the policy, 0 to 3.
        out: the PNG file.
        patches: rows, each a patch of another page where there are enough pages.
        views: augmented copies of each patch.
        seed: chooses the pages, the patches and the copies.
        labels: the labels file, if it is not in the folder.
        image_size: side that patches are resized to, in pixels. Defaults to that of the patches, 400.
    """
    if patches < 1 or views < 1:
        raise InputError("--patches and --views must be at least 1.")
    if out.suffix.lower() != ".png":
        raise InputError(f"--out must be a .png file, not {out}.")
    import numpy as np

    from age_keras.config.pages import PageSettings
    from age_keras.data.batches.augment import get_policy
    from age_keras.data.batches.views import view_keys
    from age_keras.data.preview import choose_patches, synthetic_pages, write_contact_sheet

    augment = get_policy(policy, strength)
    settings = PageSettings(image_size=image_size)
    if folder == "none":
        with synthetic_pages(patches, seed) as synthetic:
            pixels, captions = choose_patches(synthetic, None, settings, patches, seed)
    else:
        pixels, captions = choose_patches(Path(folder), labels, settings, patches, seed)
    keys = np.arange(len(pixels), dtype=np.uint64)
    copies = [augment(pixels, view_keys(keys, view, seed)).numpy() for view in range(views)]
    source = "synthetic pages" if folder == "none" else Path(folder).resolve().name
    title = f"Augmentation policy “{policy}”, strength {strength:g}, on {source}"
    write_contact_sheet(out, pixels, copies, captions, title)
    print(f"{out}: {len(pixels)} patches, {views} copies each.")
