"""The Keras layers of our own that backbones are built of, each by its name: `layers.LayerNorm`.

Importing this package imports every file in it and so registers all layers with Keras: a saved model finds its own.
"""

import importlib
import pkgutil

for _info in pkgutil.iter_modules(__path__):
    _module = importlib.import_module(f"{__name__}.{_info.name}")
    globals().update({k: v for k, v in vars(_module).items() if getattr(v, "__module__", "") == _module.__name__})
