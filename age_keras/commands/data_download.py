"""Download a public data set: HHD-Age (109 MB, from Zenodo)."""

from pathlib import Path
from typing import Literal

import tyro


def main(
    dataset: tyro.conf.Positional[Literal["hhd"]],
    folder: tyro.conf.Positional[Path] = Path("data/hhd_age"),
    base_url: str = "https://zenodo.org",
) -> None:
    """Downloads a data set, verifies it and unpacks it. Re-run the command to resume an interrupted download.

    Args:
        dataset: The data set: hhd (HHD-Age, Zenodo record 14996257).
        folder: The folder to make.
        base_url: The server to download from.
    """
    from age_keras.data.hhd.dataset import describe, download_hhd

    done = download_hhd(folder, base_url)
    print(describe(folder) if done else f"{describe(folder)}; it is complete already, nothing to do.")
