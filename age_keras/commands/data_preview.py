"""Write a contact sheet of patches and their augmented views."""

from pathlib import Path
from typing import Annotated, Literal

import tyro
from annotated_types import Interval

from age_keras.config.settings import AtLeastOne, Seed
from age_keras.errors import InputError
from age_keras.files import writing


def main(
    folder: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="DIR|none")]],
    policy: Literal["none", "published", "handwriting"] = "handwriting",
    strength: Annotated[float, Interval(ge=0, le=3)] = 1.0,
    out: Path = Path("preview.png"),
    patches: AtLeastOne = 6,
    views: AtLeastOne = 5,
    seed: Seed = 0,
    labels: Path | None = None,
    image_size: int = 224,
) -> None:
    """Writes a contact sheet of patches and their augmented views, to look at before training.

    Args:
        folder: The folder of pages, or `none` for synthetic pages.
        policy: The augmentation policy.
        strength: Factor on every range of the policy, 0 to 3.
        out: The PNG file to write.
        patches: Number of rows, each a patch of another page if there are enough pages.
        views: Number of augmented views of each patch.
        seed: Seed of the pages, the patches and the views.
        labels: The labels file, if it is not in the folder.
        image_size: Side that patches are resized to, in pixels. Defaults to that of the experiments, 224.
    """
    if out.suffix.lower() != ".png":
        raise InputError(f"--out must be a .png file. Received: {out}.")
    import numpy as np

    from age_keras.config.pages import PageSettings
    from age_keras.data.preview import choose_patches, synthetic_pages, write_contact_sheet

    settings = PageSettings(image_size=image_size)
    if folder == "none":
        with synthetic_pages(patches, seed) as synthetic:
            pixels, captions = choose_patches(synthetic, None, settings, patches, seed)
    else:
        pixels, captions = choose_patches(Path(folder), labels, settings, patches, seed)
    # TensorFlow starts only now: a wrong flag or folder has been answered at once.
    from age_keras.data.batches.augment import get_policy
    from age_keras.data.batches.views import view_keys

    augment = get_policy(policy, strength)
    keys = np.arange(len(pixels), dtype=np.uint64)
    augmented = [augment(pixels, view_keys(keys, view, seed)).numpy() for view in range(views)]
    source = "synthetic pages" if folder == "none" else Path(folder).resolve().name
    title = f"Augmentation policy “{policy}”, strength {strength:g}, on {source}"
    with writing(out):
        write_contact_sheet(out, pixels, augmented, captions, title)
    print(f"{out}: {len(pixels)} patches, {views} views each.")
