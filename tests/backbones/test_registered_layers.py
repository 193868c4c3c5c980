"""Keras finds the class of a saved layer by its name: two layers of one name would break each other's files."""

import ast
import collections
from pathlib import Path

import age_keras


def test_no_two_registered_classes_share_a_name():
    found = collections.defaultdict(list)
    for path in Path(age_keras.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if any("register_keras_serializable" in ast.unparse(use) for use in getattr(node, "decorator_list", ())):
                found[node.name].append(path.name)
    assert found
    assert not {name: files for name, files in found.items() if len(files) > 1}
