"""A published checkpoint, or Keras weights, as a Keras feature extractor: one .keras file."""

from pathlib import Path
from typing import Annotated, Literal

import tyro


def main(
    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="NAME")],
    checkpoint: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="CHECKPOINT")],
    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT.keras")],
    image_size: int | None = None,
    preprocessing: Literal["native", "none"] = "native",
) -> None:
    """Writes a model from images (N, S, S, 3) to the last feature map (N, h, w, C) or the last tokens (N, T, C).

    Load it with `keras.saving.load_model(OUT)` after `import age_keras.backbones.layers`.

    Args:
        name: A name that `age-keras backbones list` shows.
        checkpoint: A .safetensors, .pth, .pt, .bin or .npz file with the published names; or a Keras file. No code in
            it is run.
        out: The file to write, ending in .keras.
        image_size: The side of the input in pixels. Defaults to the published one. Tables of positions are interpolated
            from a PyTorch checkpoint; a Keras file must be of this size where it has any.
        preprocessing: `native` takes pixels 0-255, `none` what the first convolution expects (pixels 0-255 too for
            efficientnetv2_m and mobilenetv3_small, which rescale inside).
    """
    from age_keras.backbones.checkpoints.convert import convert

    model = convert(name, checkpoint, out, image_size, preprocessing)
    print(f"{out}: {model.name}, {model.count_params():,} parameters, {model.input_shape} -> {model.output_shape}")
    print(f"To load it: import age_keras.backbones.layers, keras; keras.saving.load_model({str(out)!r})")
