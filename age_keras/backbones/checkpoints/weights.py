"""Weights into a backbone: published ones by name, downloaded once; or a file, without a network."""

import hashlib
import os
import sys
from pathlib import Path

import keras

from age_keras.backbones.checkpoints.torch_checkpoint import read_checkpoint
from age_keras.backbones.checkpoints.torch_weights import load_torch_weights
from age_keras.backbones.registry import BackboneSpec, WeightSource
from age_keras.errors import InputError


def load_weights(model: keras.Model, spec: BackboneSpec, weights: str | Path) -> None:
    """Loads weights into a model of `spec`.

    Args:
        model: What `build_backbone` builds.
        spec: Its facts.
        weights: A name of `spec.weights`, e.g. `imagenet` (downloaded into Keras' cache, `~/.keras/models`), or a file:
            `.weights.h5`, `.keras`, or a published PyTorch checkpoint of the family.

    Raises:
        InputError: No such name or file, no network, or weights that do not fit.
    """
    if str(weights) in spec.weights:
        source = spec.weights[str(weights)]
        if notice := licence_notice(spec, source):
            print(notice, file=sys.stderr)
        if source.loader:
            _load_from_library(source.loader, model, spec)
        else:
            load_file(model, spec, download(spec, source))
        return
    load_file(model, spec, Path(weights).expanduser())


def licence_notice(spec: BackboneSpec, source: WeightSource) -> str:
    """What is said when weights are asked for that may not be used commercially; otherwise empty."""
    if source.commercial:
        return ""
    return (
        f"Notice: the published weights of {spec.name} are under {source.licence}, which does not allow commercial use."
    )


def load_file(model: keras.Model, spec: BackboneSpec, path: Path) -> None:
    """Loads a file of Keras weights, a Keras model that holds the backbone, or a checkpoint of PyTorch."""
    spec.check_weights(path)
    if path.suffix == ".h5":
        try:
            model.load_weights(path)
        except (ValueError, OSError, KeyError) as error:
            raise InputError(f"{path} does not fit {spec.name}: {_first_line(error)}") from error
    elif path.suffix == ".keras":
        _load_keras_model(model, spec, path)
    else:
        load_torch_weights(model, read_checkpoint(path), spec.weight_map, source=str(path))


def download(spec: BackboneSpec, source: WeightSource) -> Path:
    """The file of published weights, from Keras' cache or, with a progress bar, from where it is published."""
    if source.location.startswith("https://"):
        fetch, page = _fetch_url, f"{source.location}/{source.filename}"
    else:
        fetch = _fetch_hub
        page = f"https://huggingface.co/{source.location}/resolve/{source.revision or 'main'}/{source.filename}"
    try:
        path = fetch(source)
    except Exception as error:  # The clients raise many kinds: no network, 401, 404, a broken proxy.
        raise InputError(
            f"The weights of {spec.name} cannot be fetched ({type(error).__name__}: {_first_line(error)}). Download "
            f"{page} by hand, and give the file: weights=FILE."
        ) from error
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest() if source.sha256 else ""
    if not found.startswith(source.sha256):
        raise InputError(
            f"{path} is not the published file of {spec.name}: its SHA-256 is {found}, where {source.sha256} is "
            "expected. Delete it; if it comes again, its publisher has changed it."
        )
    return path


def _fetch_hub(source: WeightSource) -> Path:
    from huggingface_hub import hf_hub_download

    home = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser()
    folder = home / "models" / "huggingface"
    return Path(hf_hub_download(source.location, source.filename, revision=source.revision or None, cache_dir=folder))


def _fetch_url(source: WeightSource) -> Path:
    return Path(
        keras.utils.get_file(
            source.filename,
            f"{source.location}/{source.filename}",
            cache_subdir="models",
        )
    )


def _load_from_library(load, model: keras.Model, spec: BackboneSpec) -> None:
    """Calls the loader of a library that downloads by itself."""
    try:
        load(model, spec)
    except InputError:
        raise
    except Exception as error:  # urllib, a time-out, a wrong hash: whatever stands between us and the file.
        raise InputError(
            f"The weights of {spec.name} cannot be fetched ({type(error).__name__}: {_first_line(error)}). Give a file "
            "instead: weights=FILE, a .keras or .weights.h5 file of this backbone."
        ) from error


def _load_keras_model(model: keras.Model, spec: BackboneSpec, path: Path) -> None:
    """Copies, layer by layer of the same name, from a saved model that holds the backbone (an age model does)."""
    try:
        saved = keras.saving.load_model(path, compile=False)
    except (ValueError, OSError, TypeError, KeyError) as error:
        raise InputError(f"{path} cannot be loaded as a Keras model: {_first_line(error)}") from error
    theirs = {layer.name: layer for layer in saved.layers}
    for layer in (layer for layer in model.layers if layer.weights):
        found = theirs.get(layer.name)
        shapes = [tuple(w.shape) for w in layer.weights]
        if found is None or [tuple(w.shape) for w in found.weights] != shapes:
            raise InputError(f"{path} does not hold a {spec.name}: its layer {layer.name!r} is missing or differs.")
        layer.set_weights(found.get_weights())
        # What a layer keeps beside its weights, as in a file: a ViT's block its kind of GELU.
        state: dict = {}
        found.save_own_variables(state)
        layer.load_own_variables(state)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0]
