"""The frozen prefix of a model: cut off, run once over every patch, and its features kept.

    cut_model       cuts a model where its frozen part ends, into a `CutModel`
    CutModel        the parts: `prefix`, `suffix`, and `whole` for plain training with the same result
    Wanted          patches and views of them whose features are needed
    FeatureCache    computes features, keeps them on disk and in memory, and finds them again
    Features        what it returns: drawn by patch and view, as input of the suffix
    LiveFeatures    the same without a cache: computed whenever they are asked for

The names are loaded when they are used: listing the cache needs no TensorFlow.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from age_keras.prefix.cache import FeatureCache
    from age_keras.prefix.compute import LiveFeatures, Wanted
    from age_keras.prefix.cut import CutModel, cut_model
    from age_keras.prefix.features import Features

_HOMES = {
    "cut_model": "cut",
    "CutModel": "cut",
    "Wanted": "compute",
    "LiveFeatures": "compute",
    "FeatureCache": "cache",
    "Features": "features",
}
__all__ = ["CutModel", "FeatureCache", "Features", "LiveFeatures", "Wanted", "cut_model"]


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
