"""Show where on a page a model sees age, as a picture and an interactive page."""

import sys
from pathlib import Path
from typing import Annotated

import tyro
from annotated_types import Interval

from age_keras.config.explain import Method
from age_keras.errors import InputError
from age_keras.files import writing


def main(
    model: tyro.conf.Positional[Path],
    pages: tyro.conf.Positional[tuple[Path, ...]],
    method: Method = "grad_cam",
    layers: Annotated[int, Interval(ge=1, le=4), tyro.conf.arg(metavar="1..4")] = 2,
    out: Path = Path("explanations"),
) -> int:
    """Writes a PNG and an interactive HTML file for each page, and prints one line per page.

    Args:
        model: A .keras file from a run's checkpoints folder.
        pages: Images, or folders of images.
        method: The kind of map; docs/explain.md says which to trust. Attention roll-out needs global attention.
        layers: Number of the model's layers to fuse: more show finer details, 1 is the last feature map alone.
        out: The folder to write to.

    Returns:
        0, or 2 where a page could not be read.
    """
    if not pages:
        raise InputError("No page was given: give images, or folders of images.")
    if not model.is_file():
        raise InputError(f"There is no model {model}: give a run's checkpoints/*.keras.")
    from tqdm import tqdm

    from age_keras.data.table.samples import samples_of

    samples = samples_of(pages)
    from age_keras.deploy.predictor import Predictor
    from age_keras.explain.cam import Explainer
    from age_keras.explain.page import explain_page
    from age_keras.explain.page_figure import write_png
    from age_keras.explain.page_html import write_html

    predictor = Predictor(model)
    explainer = Explainer(predictor.model, predictor.facts["name"], fused=layers)
    if method not in explainer.methods:
        raise InputError(f"{explainer.name} has no {method}: choose {', '.join(explainer.methods)}.")
    if predictor.synthetic:
        print(
            "Warning: the model was trained on synthetic pages; its age estimates are not meaningful for real "
            "handwriting.",
            file=sys.stderr,
        )
    failed = False
    names = samples.table["ImageID"].str.rsplit(".", n=1).str[0].str.replace("/", "_")
    clash = names.duplicated(keep=False)
    names = names.where(~clash, samples.table["ImageID"].str.replace("/", "_"))
    for name, path in tqdm(list(zip(names, samples.paths, strict=True)), desc="explaining", unit="page", leave=False):
        try:
            page = explain_page(explainer, path, predictor.settings, method)
        except InputError as error:
            tqdm.write(f"{path}\terror: {error}", file=sys.stdout)
            failed = True
            continue
        with writing(out):
            picture = write_png(page, predictor.settings, out / f"{name}.png", explainer.name)
            write_html(page, predictor.settings, out / f"{name}.html", explainer.name)
        blank = ", no ink found" if page.blank else ""
        trust = f", occlusion agreement r = {page.agreement:.2f}" if page.signed else ""
        tqdm.write(
            f"{path}\t{page.age:.1f} years\t{len(page.patch_ages)} patches{blank}{trust}\t{picture} .html",
            file=sys.stdout,
        )
    return 2 if failed else 0
