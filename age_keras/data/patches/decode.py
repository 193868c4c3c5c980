"""Decode a page: whatever a scanner or a phone wrote, to 8-bit grey or RGB."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from age_keras.errors import InputError

IMAGES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".tif", ".tiff", ".bmp", ".webp")
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")
MAX_PIXELS = 89_478_485  # Pillow's own mark of a likely decompression bomb; A3 at 600 dpi is 70 million.

_BITS, _PHOTOMETRIC, _MIN_IS_WHITE = 258, 262, 0  # TIFF tags


def decode_page(path: str | Path, channels: int = 1) -> Image.Image:
    """Decodes a page to what a reader would see on white paper.

    Takes PNG, JPEG, TIFF, BMP and WebP of 1, 8 and 16 bits, grey, palette, RGB, CMYK, with alpha (laid over white)
    and with an EXIF rotation (applied); of several pages the first.

    Args:
        path: The file.
        channels: 1 (grey, ITU-R 601) or 3 (RGB). Defaults to 1.

    Returns:
        A loaded image of mode `L` or `RGB`.

    Raises:
        InputError: The file is missing, damaged, of another format, or larger than `MAX_PIXELS`.
    """
    try:
        # By name, Pillow 13 maps an uncompressed TIFF with an orientation into memory with its sides exchanged.
        with open(path, "rb") as file, Image.open(file, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Image.DecompressionBombError(f"{image.width} x {image.height} px")
            image.load()
            return _flatten(image).convert("L" if channels == 1 else "RGB")
    except MemoryError:  # nothing is wrong with the page
        raise
    except FileNotFoundError:
        reason = "is missing"
    except Image.DecompressionBombError as error:
        reason = f"is larger than a page can be ({error}): scan it at a lower resolution"
    except Image.UnidentifiedImageError:
        reason = "is not a PNG, JPEG, TIFF, BMP or WebP image, or is damaged"
    except Exception as error:  # Pillow's decoders raise many kinds of error for a damaged file
        reason = f"cannot be decoded: {error or type(error).__name__}"
    raise InputError(f"{path} {reason}.")


def _flatten(image: Image.Image) -> Image.Image:
    """Upright, 8 bits, without transparency."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        deep = Image.fromarray(_to_8_bits(image))
        deep.getexif().update(image.getexif())
        return ImageOps.exif_transpose(deep)
    image = ImageOps.exif_transpose(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image


def _to_8_bits(image: Image.Image) -> np.ndarray:
    """Grey of 12, 16 or 32 bits to 8, by the range of its type, not by the values that happen to occur."""
    values, tags = np.asarray(image), getattr(image, "tag_v2", {})
    low, high = values.min(), values.max()
    if image.mode == "F":
        top = 1 if high <= 1 else 255
    elif image.mode == "I":
        top = 255 if high <= 255 else 65535
    else:
        top = 4095 if tags.get(_BITS) in ((12,), 12) else 65535
    if not 0 <= low <= high <= top:
        raise ValueError(f"its grey values go from {low:g} to {high:g}; save it with 8 or 16 bits")
    if image.mode == "F":
        return np.rint(values * np.float32(255 / top)).astype(np.uint8)
    table = np.rint(np.arange(top + 1) * (255 / top)).astype(np.uint8)
    if tags.get(_PHOTOMETRIC) == _MIN_IS_WHITE:  # Pillow turns this round itself for 1 and 8 bits alone
        table = table[::-1]
    return table[values]
