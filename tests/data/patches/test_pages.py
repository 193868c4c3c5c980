"""Decoding whatever a scanner wrote, and cutting it as published."""

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from age_keras.config.pages import PageSettings
from age_keras.data.patches.decode import decode_page
from age_keras.data.patches.ink import ink_mask
from age_keras.data.patches.pages import cut_page, scaled_size
from age_keras.errors import InputError


def scribble(width=700, height=900, lines=range(60, 800, 60), seed=0) -> Image.Image:
    """A page with lines of dark strokes on slightly noisy paper."""
    rng = np.random.default_rng(seed)
    page = Image.fromarray(rng.integers(228, 245, (height, width), np.uint8))
    draw = ImageDraw.Draw(page)
    for y in lines:
        for x in range(40, width - 60, 24):
            draw.line((x, y, x + int(rng.integers(4, 20)), y + int(rng.integers(-18, 18))), 40, 3)
    return page


def saved(tmp_path, image, name, **options):
    path = tmp_path / name
    image.save(path, **options)
    return path


GRADIENT = np.linspace(0, 255, 64 * 48).reshape(48, 64).astype(np.uint8)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.bmp"])
def test_grey_of_8_bits_comes_through_unchanged(tmp_path, name):
    path = saved(tmp_path, Image.fromarray(GRADIENT), name)
    np.testing.assert_array_equal(decode_page(path), GRADIENT)
    assert np.asarray(decode_page(path, channels=3)).shape == (48, 64, 3)


def test_jpeg_comes_through_nearly_unchanged(tmp_path):
    path = saved(tmp_path, Image.fromarray(GRADIENT), "a.jpg", quality=95)
    assert np.abs(np.asarray(decode_page(path)).astype(int) - GRADIENT).max() < 12


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_1_bit_is_black_and_white(tmp_path, name):
    ink = GRADIENT > 100
    options = {"compression": "group4"} if name == "a.tif" else {}
    path = saved(tmp_path, Image.fromarray(ink), name, **options)
    np.testing.assert_array_equal(decode_page(path), ink * np.uint8(255))


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_16_bits_keep_the_grey_of_the_whole_range(tmp_path, name):
    path = saved(tmp_path, Image.fromarray(GRADIENT.astype(np.uint16) * 257), name)
    np.testing.assert_array_equal(decode_page(path), GRADIENT)
    faint = saved(tmp_path, Image.fromarray(np.full((9, 9), 300, np.uint16)), f"faint-{name}")
    assert np.asarray(decode_page(faint)).max() == 1  # not stretched to white


def test_16_bits_with_white_as_zero(tmp_path):
    path = saved(tmp_path, Image.fromarray(GRADIENT.astype(np.uint16) * 257), "a.tif", tiffinfo={262: 0})
    np.testing.assert_array_equal(decode_page(path), 255 - GRADIENT)


def test_values_beyond_any_picture_are_refused(tmp_path):
    path = saved(tmp_path, Image.fromarray(np.full((9, 9), 1 << 20, np.int32)), "a.tif")
    with pytest.raises(InputError, match=r"a\.tif cannot be decoded: its grey values go from .* save it with 8 or 16"):
        decode_page(path)


def test_palette(tmp_path):
    path = saved(tmp_path, Image.fromarray(GRADIENT).convert("P"), "a.png")
    assert np.abs(np.asarray(decode_page(path)).astype(int) - GRADIENT).max() <= 1


@pytest.mark.parametrize("name", ["a.tif", "a.jpg"])
def test_cmyk_white_is_white_and_ink_is_dark(tmp_path, name):
    page = scribble(200, 200, lines=[100])
    path = saved(tmp_path, page.convert("RGB").convert("CMYK"), name)
    assert np.abs(np.asarray(decode_page(path)).astype(int) - np.asarray(page)).mean() < 5


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_what_is_transparent_is_white_paper(tmp_path, mode):
    image = Image.new("RGBA", (20, 10), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (0, 0, 5, 10))
    path = saved(tmp_path, image.convert("LA") if mode == "LA" else image, "a.png")
    if mode == "PA":
        path = saved(tmp_path, image.quantize(4), "p.png")
    grey = np.asarray(decode_page(path))
    assert (grey[:, :5] == 0).all()
    assert (grey[:, 5:] == 255).all()


def test_a_colour_named_transparent_is_white_paper(tmp_path):
    image = Image.new("RGB", (20, 10), (10, 20, 30))
    path = saved(tmp_path, image, "a.png", transparency=(10, 20, 30))
    assert (np.asarray(decode_page(path)) == 255).all()


@pytest.mark.parametrize(
    ("name", "deep", "options"),
    [
        ("a.jpg", False, {}),
        ("a.png", False, {}),
        ("a.png", True, {}),
        ("a.tif", False, {}),
        ("a.tif", True, {}),
        ("a.tif", False, {"compression": "tiff_lzw"}),
        ("a.tif", True, {"compression": "tiff_lzw"}),
        ("a.tif", False, {"save_all": True, "append_images": [Image.new("L", (9, 9))]}),
    ],
)
def test_exif_rotation_is_applied_once(tmp_path, name, deep, options):
    pixels = np.full((40, 80), 250, np.uint8)
    pixels[:, :20] = 10
    image = Image.fromarray(pixels.astype(np.uint16) * 257 if deep else pixels)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    page = np.asarray(decode_page(saved(tmp_path, image, name, exif=exif, **options)))
    assert page.shape == (80, 40)
    assert page[:15].mean() < 30
    assert page[25:].mean() > 230


def test_the_first_of_several_pages(tmp_path):
    first, second = Image.fromarray(GRADIENT), Image.new("L", (300, 300))
    path = saved(tmp_path, first, "a.tif", save_all=True, append_images=[second])
    np.testing.assert_array_equal(decode_page(path), GRADIENT)


def png_of_size(path, width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)))
    return path


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [10_000, 60_000])
def test_a_decompression_bomb_is_refused(tmp_path, side):
    with pytest.raises(InputError, match=r"a\.png is larger than a page can be .*: scan it at a lower resolution"):
        decode_page(png_of_size(tmp_path / "a.png", side, side))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a PNG, JPEG, TIFF, BMP or WebP image, or is damaged"),
        (b"%PDF-1.7 ...", "is not a PNG, JPEG, TIFF, BMP or WebP image, or is damaged"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "a.png (cannot be decoded|is not a PNG)"),
        (None, r"a\.png is missing"),
    ],
)
def test_a_file_that_is_no_page_is_named(tmp_path, content, message):
    if content is not None:
        (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(InputError, match=message):
        decode_page(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif"])
def test_a_truncated_file_is_an_error_not_a_half_black_page(tmp_path, name):
    options = {"compression": "tiff_lzw"} if name == "a.tif" else {}
    path = saved(tmp_path, scribble(), name, **options)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=f"{name} (cannot be decoded|is not)"):
        cut_page(path, PageSettings(image_size=None))


def published_patches(path) -> np.ndarray:
    """The study's own steps, written down from its description: one resampling to the cut-down size, 400 at 200."""
    image = Image.open(path).convert("RGB")
    width, height = image.size
    new = [int(800 * (width / height)), 800] if height < width else [800, int(800 / (width / height))]
    new = [side - (side - 400) % 200 for side in new]
    pixels = np.asarray(image.resize(new, Image.Resampling.LANCZOS))
    windows = np.lib.stride_tricks.sliding_window_view(pixels, (400, 400), (0, 1))[::200, ::200]
    return windows.transpose(0, 1, 3, 4, 2).reshape(-1, 400, 400, 3)


@pytest.mark.parametrize("size", [(700, 900), (900, 700), (500, 500), (1000, 431), (2480, 3508)])
def test_patches_are_exactly_the_published_ones(tmp_path, size):
    path = saved(tmp_path, scribble(*size), "a.png")
    page = cut_page(path, PageSettings(image_size=None, channels=3, blank="published"))
    np.testing.assert_array_equal(page.patches, published_patches(path))
    grey = cut_page(path, PageSettings(image_size=None, blank="none"))
    np.testing.assert_array_equal(grey.patches[..., 0], page.patches[..., 0])


@settings(max_examples=200, deadline=None)
@given(
    width=st.integers(1, 5000),
    height=st.integers(1, 5000),
    shorter=st.none() | st.integers(50, 1200),
    patch=st.integers(20, 500),
    share=st.floats(0.1, 1),
)
def test_tiles_always_cover_the_page_exactly(width, height, shorter, patch, share):
    chosen = PageSettings(image_size=None, shorter_side=shorter, patch_size=patch, stride=max(1, int(patch * share)))
    resampled, filled = scaled_size(width, height, chosen)
    for side, whole in zip(resampled, filled, strict=True):
        assert whole >= patch
        assert (whole - patch) % chosen.stride == 0
        assert 1 <= side <= whole
    if shorter is None:
        assert resampled == (width, height)  # nothing is scaled and nothing is lost
        assert all(whole - side < max(patch, chosen.stride) for side, whole in zip(resampled, filled, strict=True))


def test_boxes_say_where_a_patch_stands(tmp_path):
    path = saved(tmp_path, scribble(), "a.png")
    page = cut_page(path, PageSettings(image_size=None, blank="none"))
    whole = np.asarray(decode_page(path).resize(page.size, Image.Resampling.LANCZOS))
    for patch, (x, y, w, h) in zip(page.patches, page.boxes, strict=True):
        np.testing.assert_array_equal(patch[..., 0], whole[y : y + h, x : x + w])
    assert page.patches.dtype == np.uint8
    assert page.boxes.dtype == np.int32


def test_image_size_resizes_each_patch_with_antialiasing(tmp_path):
    pixels = np.zeros((400, 400), np.uint8)
    pixels[:, ::2] = 255
    path = saved(tmp_path, Image.fromarray(pixels), "a.png")
    page = cut_page(path, PageSettings(shorter_side=None, image_size=50, blank="none"))
    assert page.patches.shape == (1, 50, 50, 1)
    assert np.abs(page.patches.astype(int) - 127).max() < 12  # stripes become grey, not moiré


def test_own_resolution_keeps_every_pixel_and_fills_up_with_paper(tmp_path):
    path = saved(tmp_path, scribble(500, 300, lines=[100, 200]), "a.png")
    page = cut_page(path, PageSettings(image_size=None, shorter_side=None, blank="none"))
    assert page.size == (600, 400)
    original, paper = np.asarray(decode_page(path)), 236
    np.testing.assert_array_equal(page.patches[0, :300, :, 0], original[:, :400])
    assert np.abs(page.patches[0, 300:].astype(int) - paper).max() <= 2
    assert np.abs(page.patches[1, :, 300:].astype(int) - paper).max() <= 2


def test_a_page_smaller_than_a_patch_lies_on_its_own_paper(tmp_path):
    path = saved(tmp_path, scribble(120, 80, lines=[40]), "a.png")
    page = cut_page(path, PageSettings(image_size=None, shorter_side=80))
    assert page.size == (400, 400)
    assert page.patches.shape == (1, 400, 400, 1)
    assert np.median(page.patches) > 230


def test_blank_paper_is_dropped_by_ink(tmp_path):
    path = saved(tmp_path, scribble(800, 1600, lines=range(60, 360, 60)), "a.png")
    page = cut_page(path, PageSettings(image_size=None))
    assert set(page.boxes[:, 1]) == {0, 200}  # written on its upper quarter
    assert not page.blank
    assert len(cut_page(path, PageSettings(image_size=None, blank="none")).patches) == 21
    # The published filter keeps white paper.
    assert len(cut_page(path, PageSettings(image_size=None, blank="published")).patches) == 21
    strict = cut_page(path, PageSettings(image_size=None, min_ink=0.9))
    assert strict.blank
    assert len(strict.patches) == 1


def test_the_published_filter_drops_black_patches(tmp_path):
    pixels = np.full((800, 800), 240, np.uint8)
    pixels[:, 400:] = 0
    page = cut_page(saved(tmp_path, Image.fromarray(pixels), "a.png"), PageSettings(image_size=None, blank="published"))
    assert set(page.boxes[:, 0]) == {0, 200}


@pytest.mark.parametrize("kind", ["white", "noisy", "shaded"])
def test_a_blank_page_keeps_one_patch_and_says_so(tmp_path, kind):
    pixels = np.full((800, 800), 255, np.float32)
    if kind == "noisy":
        pixels = np.random.default_rng(0).normal(225, 6, (800, 800)).clip(0, 255)
    if kind == "shaded":
        pixels = np.tile(np.linspace(205, 240, 800), (800, 1))
    page = cut_page(saved(tmp_path, Image.fromarray(pixels.astype(np.uint8)), "a.png"), PageSettings(image_size=None))
    assert page.blank
    assert len(page.patches) == 1
    assert not ink_mask(pixels.astype(np.uint8)[..., None]).any()


def test_faint_pencil_is_ink(tmp_path):
    page = np.asarray(scribble(800, 800, lines=[100, 200, 300])).astype(np.float32)
    pencil = (236 + (page - 236) * 0.3).astype(np.uint8)
    found = cut_page(saved(tmp_path, Image.fromarray(pencil), "a.png"), PageSettings(image_size=None))
    assert not found.blank
    assert set(found.boxes[:, 1]) == {0, 200}


def test_a_narrow_strip_is_refused(tmp_path):
    path = saved(tmp_path, Image.new("L", (9000, 8), 255), "strip.png")
    with pytest.raises(InputError, match=r"strip\.png is 9000 x 8 px, too narrow a strip to scale to a page"):
        cut_page(path, PageSettings(image_size=None))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"patch_size": 0}, r"`patch_size` must be a whole number in \[1, 20000\]. Received: patch_size=0"),
        ({"stride": 1.5}, "`stride` must be a whole number"),
        ({"stride": 500}, "`stride` must not exceed patch_size"),
        ({"shorter_side": -1}, "`shorter_side` must be"),
        ({"image_size": 0}, "`image_size` must be"),
        ({"channels": 2}, "`channels` must be one of 1, 3"),
        ({"blank": "white"}, "`blank` must be one of ink, published, none"),
        ({"min_ink": 2}, "`min_ink` must be a number in"),
    ],
)
def test_a_wrong_setting_is_named(wrong, message):
    with pytest.raises(InputError, match=message):
        PageSettings(**wrong)


def test_the_key_changes_with_what_changes_pixels():
    keys = {
        PageSettings(**change).key
        for change in (
            {},
            {"stride": 100},
            {"shorter_side": None},
            {"channels": 3},
            {"min_ink": 0.1},
            {"blank": "none"},
        )
    }
    assert len(keys) == 6
    assert PageSettings(image_size=400).key == PageSettings(image_size=None).key
