"""Characters from pictures: IAM's words and lines, a folder per class, a photographed digit."""

import numpy as np
import pytest
from PIL import Image

from age_keras.characters.data.iam import read_iam
from age_keras.characters.data.images import load_folder, prepare_character, read_character
from age_keras.characters.data.sources import load_characters, load_sklearn
from age_keras.errors import InputError

WORDS = """#--- words.txt ---#
# format: a01-000u-00-00 ok 154 1 408 768 27 51 AT A
a01-000u-00-00 ok 154 408 768 27 51 AT A
a01-000u-00-01 ok 154 507 766 213 48 NN MOVE
a01-000u-00-02 err 154 796 764 70 50 TO to
a01-003-00-00 ok 182 100 200 30 40 AT A
a01-003-00-01 ok 182 150 200 30 40 NN MOVE
"""
LINES = "# lines\na01-000u-00 ok 154 19 408 746 1661 89 A|MOVE|to|stop\n"
FORMS = "# forms\na01-000u 000 2 prt 7 5 52 36\na01-003 001 2 prt 7 5 52 36\n"


@pytest.fixture
def iam(tmp_path):
    (tmp_path / "ascii").mkdir()
    for name, text in (("words", WORDS), ("lines", LINES), ("forms", FORMS)):
        (tmp_path / "ascii" / f"{name}.txt").write_text(text)
    for path in read_iam(tmp_path)["path"]:
        path.parent.mkdir(parents=True, exist_ok=True)
        page = np.full((40, 90), 250, np.uint8)
        page[10:30, 20:25] = 30
        Image.fromarray(page).save(path)
    return tmp_path


def test_iam_words_and_lines_have_text_and_writer(iam):
    words = read_iam(iam)
    assert list(words["text"]) == ["A", "MOVE", "A", "MOVE"]
    assert list(words["writer"]) == ["000", "000", "001", "001"]
    assert len(read_iam(iam, only_ok=False)) == 5
    assert list(read_iam(iam, "lines")["text"]) == ["A MOVE to stop"]


def test_iam_as_characters_by_writer_or_text(iam):
    by_writer, by_text = load_characters("iam-words", iam), load_characters("iam-words-text", iam, image_size=20)
    assert by_writer.classes == ("000", "001")
    assert by_text.classes == ("A", "MOVE")
    assert by_text.images.shape == (4, 20, 20)
    assert by_writer.images.max() > 150
    assert np.median(by_writer.images) < 30
    assert list(by_text.writers) == [0, 0, 1, 1]


def test_pictures_of_no_bytes_are_left_out_as_missing_ones_are(iam):
    (iam / "ascii" / "words.txt").write_text(WORDS + WORDS.replace("-00-0", "-01-0"))
    paths = list(read_iam(iam)["path"])
    for path in paths[4:]:
        path.write_bytes(paths[0].read_bytes())
    paths[0].write_bytes(b"")
    paths[1].unlink()
    found = load_characters("iam-words", iam)
    assert len(found) == len(paths) - 2
    for path in paths[1:]:
        path.write_bytes(b"")
    with pytest.raises(InputError, match="None of IAM's 8 images"):
        load_characters("iam-words", iam)
    paths[0].write_bytes(b"no picture")
    with pytest.raises(InputError, match="fewer than two writers"):
        load_characters("iam-words", iam)


def test_a_row_that_is_not_iams_is_shown(iam):
    (iam / "ascii" / "words.txt").write_text("what is this\n")
    with pytest.raises(InputError, match="what is this"):
        read_iam(iam)


def test_a_folder_per_class_in_any_script(tmp_path):
    for part, count in (("train", 3), ("test", 2)):
        for name in ("alef", "bet"):
            folder = tmp_path / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(np.full((50, 30), 255, np.uint8)).save(folder / f"{i}.png")
    found = load_folder(tmp_path)
    assert found.classes == ("alef", "bet")
    assert (len(found.part("train")), len(found.part("test"))) == (6, 4)
    (tmp_path / "train" / "alef" / "0.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"alef.0\.png"):
        load_folder(tmp_path)


@pytest.mark.parametrize("dark_on_light", [True, False])
def test_a_photographed_digit_is_centred_and_bright_on_dark(tmp_path, dark_on_light):
    page = np.full((200, 300), 235, np.uint8)
    page[20:120, 40:60] = 20
    Image.fromarray(page if dark_on_light else 255 - page).save(tmp_path / "one.png")
    found = read_character(tmp_path / "one.png").astype(float)
    rows, _ = np.nonzero(found > 100)
    assert rows.max() - rows.min() + 1 == 20
    assert abs((found.sum(0) @ np.arange(28)) / found.sum() - 13.5) < 1
    assert found[0].max() == 0


def test_a_digit_of_the_right_size_is_left_alone_and_a_blank_one_is_blank():
    digit = load_sklearn().images[0]
    np.testing.assert_array_equal(prepare_character(digit), digit)
    np.testing.assert_array_equal(prepare_character(255 - digit), digit)
    assert not prepare_character(np.full((60, 60), 240, np.uint8)).any()
