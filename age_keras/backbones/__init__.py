"""Backbones: registered by name, built flat and functional, fed with pixels from 0 to 255.

A family is one file in `families/` that decorates its build functions with `registry.register`; nothing else is edited.
The registry's facts are read without Keras. `import age_keras.backbones.layers` registers the layers, so that
`keras.saving.load_model` finds those of a saved model.
"""

from typing import TYPE_CHECKING, Any

from age_keras.backbones.registry import BackboneSpec, get_spec, names, register

if TYPE_CHECKING:
    from age_keras.backbones.build import build_backbone

__all__ = ["BackboneSpec", "build_backbone", "get_spec", "names", "register"]


def __getattr__(name: str) -> Any:
    if name == "build_backbone":
        from age_keras.backbones.build import build_backbone

        return build_backbone
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
