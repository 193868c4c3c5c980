import numpy as np
import pytest
from PIL import Image

from age_keras import cli
from age_keras.config.pages import PageSettings
from age_keras.data.preview import choose_patches


@pytest.fixture
def folder(tmp_path):
    """Three pages with strokes, two of them with an age, and one file that is not an image."""
    rng = np.random.default_rng(0)
    for number in range(3):
        page = np.full((500, 420), 240, np.uint8)
        for _ in range(60):
            y, x = rng.integers(0, 400, 2)
            page[y : y + 3, x : x + 40] = 30
        Image.fromarray(page).save(tmp_path / f"page{number}.png")
    (tmp_path / "broken.png").write_bytes(b"not an image")
    return tmp_path


def test_writes_a_contact_sheet(folder, capsys):
    out = folder / "out" / "sheet.png"
    arguments = ["data", "preview", str(folder), "--out", str(out), "--patches", "3", "--views", "2"]
    assert cli.main(arguments) == 0
    assert f"{out}: 3 patches, 2 views each." in capsys.readouterr().out
    sheet = Image.open(out)
    assert sheet.width > 600
    assert np.asarray(sheet.convert("L")).std() > 5


def test_same_seed_same_sheet(folder, tmp_path_factory):
    def sheet(seed):
        out = tmp_path_factory.mktemp("out") / "sheet.png"
        cli.main(["data", "preview", str(folder), "--out", str(out), "--patches", "2", "--views", "1", "--seed", seed])
        return out.read_bytes()

    assert sheet("1") == sheet("1")
    assert sheet("1") != sheet("2")


def test_without_data(tmp_path):
    out = tmp_path / "sheet.png"
    arguments = ["none", "--policy", "published", "--out", str(out), "--patches", "1", "--views", "1"]
    assert cli.main(["data", "preview", *arguments]) == 0
    assert out.is_file()


def test_more_patches_than_pages_come_from_all_pages(folder):
    settings = PageSettings(image_size=None, patch_size=400, stride=50)
    patches, captions = choose_patches(folder, None, settings, 5, seed=0)
    assert patches.shape == (5, 400, 400, 1)
    assert len(set(captions)) == 3
    assert len(np.unique(patches, axis=0)) == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--policy", "paper"], "Invalid choice"),
        (["--strength", "9"], "`--strength` must be a number in [0, 3]"),
        (["--patches", "0"], "`--patches` must be a whole number of at least 1"),
        (["--out", "sheet.jpg"], "must be a .png file"),
    ],
)
def test_bad_flags(folder, capsys, arguments, message):
    assert cli.main(["data", "preview", str(folder), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_bad_folders(tmp_path, capsys):
    assert cli.main(["data", "preview", str(tmp_path / "nowhere")]) == 2
    assert "nowhere" in capsys.readouterr().err
    (tmp_path / "broken.png").write_bytes(b"not an image")
    assert cli.main(["data", "preview", str(tmp_path)]) == 2
    assert "age-keras data check" in capsys.readouterr().err
