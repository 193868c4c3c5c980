"""Backbones: registered by name, built flat and functional, fed with pixels from 0 to 255.

A family is one file here that decorates its build functions with `registry.register`; nothing else is edited. To
import this package is to import them all, so that a saved model finds its layers.
"""

from age_keras.backbones.build import build_backbone
from age_keras.backbones.registry import BackboneSpec, get_spec, names, register

__all__ = ["BackboneSpec", "build_backbone", "get_spec", "names", "register"]

names()
