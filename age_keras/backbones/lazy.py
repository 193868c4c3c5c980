"""Keras and our own layers, imported when something is first taken from them.

A family's file states facts and builds a network. The facts alone answer `--help`, a typo and a wrong size, so reading
them must not cost the seconds that TensorFlow takes to start.
"""

import importlib
from typing import Any


class OnFirstUse:
    """Stands for a module and imports it when an attribute is first asked for.

    Args:
        module: The module's full name.
    """

    def __init__(self, module: str):
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self._module), name)


keras = OnFirstUse("keras")
layers = OnFirstUse("age_keras.backbones.layers")
