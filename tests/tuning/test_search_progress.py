"""The bar of a search: what is done, what is left, and how fast it goes."""

import pytest
from fake_search import FakeHyperModel, Killed, run

from tuning.oracles import total_folds
from tuning.progress import SearchBar
from tuning.search_config import SearchConfig
from tuning.tuner import oracle_of


@pytest.mark.parametrize(("trials", "folds"), [(10, 17), (11, 19), (21, 55), (30, 70)])
def test_the_bar_counts_the_folds_that_hyperband_trains(trials, folds, tmp_path):
    config = SearchConfig(oracle="hyperband", trials=trials, folds=5)
    oracle = oracle_of(tmp_path, config, FakeHyperModel(tmp_path, config))
    assert total_folds(oracle, 5) == folds


def test_a_finished_search_fills_its_bar(tmp_path):
    config = SearchConfig(oracle="hyperband", trials=13, folds=5, race=0.0)
    trials = run(tmp_path, config)
    bar = SearchBar(trials, total_folds(oracle_of(tmp_path, config, FakeHyperModel(tmp_path, config)), 5))
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert bar.bar.n == bar.bar.total == sum(line.startswith("fold") for line in lines)
    bar.close()


def test_what_was_done_before_a_resume_says_nothing_of_the_speed(tmp_path):
    config = SearchConfig(trials=4, folds=3, race=0.0)

    def misfortune(hp, fold, epoch):
        if fold == 2 and len(list(tmp_path.glob("trials/*.json"))) == 3:
            raise Killed

    with pytest.raises(Killed):
        run(tmp_path, config, misfortune)
    bar = SearchBar(FakeHyperModel(tmp_path, config).trials, 12)
    assert (bar.bar.n, bar.bar.initial, bar.bar.total) == (7, 7, 12)
    bar.close()
