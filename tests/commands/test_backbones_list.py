import json
from pathlib import Path

from age_keras.cli import main


def test_lists_every_backbone_with_its_facts_as_documented(capsys):
    assert main(["backbones", "list", "--format", "json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert {"swinv2_tiny", "beit_base", "dit_base", "mobilevit_xxs", "tinyvit_5m", "vit_tiny_16", "mit_b0"} <= set(rows)
    assert not rows["fastervit_0"]["commercial"]
    for row in rows.values():
        assert row["parameters"] > 1000
        assert row["gflops"] > 0
        assert row["licence"]
    assert main(["backbones", "list", "--format", "csv"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(rows) + 1
    assert main(["backbones", "list"]) == 0
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    documented = (Path(__file__).parents[2] / "docs" / "backbones.md").read_text().splitlines()
    assert set(table) <= set(documented)
