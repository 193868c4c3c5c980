"""PyTorch checkpoints as numpy arrays, without PyTorch and without running a line of code that the file brings.

A `.pth` is a pickle, and a pickle may call anything. The reader here knows the few names that a state dict is made of
(`torch._utils._rebuild_tensor_v2`, storages, `OrderedDict`) and refuses a file that asks for any other.
"""

import argparse
import collections
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from age_keras.errors import InputError

STORAGES = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
    "ComplexFloatStorage": np.complex64,
    "ComplexDoubleStorage": np.complex128,
}
STREAM_MAGIC = 0x1950A86A20F9469CFC6C  # the first number of a file in the format before PyTorch 1.6
WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model", "module")
TORCH_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".tar", ".npz")


def read_checkpoint(path: str | Path) -> dict[str, np.ndarray]:
    """Reads a checkpoint's state dict.

    Args:
        path: A `.safetensors` file; a `.pth`, `.pt`, `.bin` or `.pth.tar` file as `torch.save` writes it, the zip
            format or the one before PyTorch 1.6; or an `.npz` file (arrays named as the parameters, with or without a
            leading `state/`).

    Returns:
        Parameter names (without a leading `module.`) and arrays, in the file's order; half-precision floats become
        float32. A state dict inside `state_dict_ema`, `model_ema`, `state_dict`, `model` or `module` is taken out;
        the averaged weights come first.

    Raises:
        InputError: No such file, another format, a pickle with anything but tensors, a file that ends too early.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"There is no checkpoint {path}.")
    if path.suffix == ".safetensors":
        state = _read_safetensors(path)
    elif path.suffix == ".npz":
        state = _read_npz(path)
    elif path.suffix in TORCH_SUFFIXES:
        state = _state_dict(_read_torch(path), path)
    else:
        raise InputError(f"{path} is no checkpoint that can be read: use one of {', '.join(TORCH_SUFFIXES)}.")
    if not state:
        raise InputError(f"{path} holds no tensors.")
    if all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    return {key: _readable(value) for key, value in state.items()}


def _readable(value: np.ndarray) -> np.ndarray:
    return value.astype(np.float32) if value.dtype in (np.float16, ml_dtypes.bfloat16) else value


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path} is not a whole safetensors file: {error}. Download it again.") from error


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            prefix = "state/" if any(key.startswith("state/") for key in file.files) else ""
            state = {key.removeprefix(prefix): file[key] for key in file.files if key.startswith(prefix)}
    except Exception as error:  # zipfile and zlib have many; a single array (.npy) has no `with`.
        raise InputError(
            f"{path} is not a whole .npz file of plain arrays ({type(error).__name__}: {error})."
        ) from error
    if strange := [key for key, value in state.items() if not isinstance(value, np.ndarray)]:
        raise InputError(f"{path} is not an .npz file of plain arrays: {strange[0]} in it is none.")
    return state


def _state_dict(loaded: Any, path: Path) -> dict[str, np.ndarray]:
    while isinstance(loaded, dict):
        inner = next((loaded[key] for key in WRAPPERS if isinstance(loaded.get(key), dict) and loaded[key]), None)
        if inner is None:
            tensors = {key: value for key, value in loaded.items() if isinstance(value, np.ndarray)}
            return {str(key): value for key, value in tensors.items()}
        loaded = inner
    raise InputError(f"{path} holds a {type(loaded).__name__}, not a state dict. Save `model.state_dict()` instead.")


def _read_torch(path: Path) -> Any:
    try:
        return _read_zip(path) if zipfile.is_zipfile(path) else _read_stream(path)
    except InputError:
        raise
    except Exception as error:  # A broken pickle can raise nearly anything.
        raise InputError(f"{path} is not a whole PyTorch checkpoint ({type(error).__name__}: {error}).") from error


def _read_zip(path: Path) -> Any:
    """As `torch.save` writes since PyTorch 1.6: a zip file with a pickle, and with a file for each storage."""
    with zipfile.ZipFile(path) as archive:
        index = next((name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl"), None)
        if index is None:
            raise InputError(f"{path} is a zip file but no PyTorch checkpoint: it has no data.pkl.")
        root = index.removesuffix("data.pkl")
        if root + "byteorder" in archive.namelist() and archive.read(root + "byteorder") != b"little":
            raise InputError(f"{path} is in big-endian byte order, which is not read.")
        with archive.open(index) as file:
            return _TensorUnpickler(file, path, lambda key, _: archive.read(f"{root}data/{key}")).load()


def _read_stream(path: Path) -> Any:
    """As it wrote before: pickles one after the other, the last but one that of the tensors, and then the storages.

    The tensors' pickle comes before the storages that it asks for, so it is read twice: at first for their sizes.
    """
    whole = path.stat().st_size
    sizes: dict[str, int] = {}
    storages: dict[str, bytes] = {}

    def empty(key: str, size: int) -> bytes:
        if size > whole:
            raise ValueError(f"storage {key} has {size} bytes, more than the file")
        return bytes(sizes.setdefault(key, size))

    with path.open("rb") as file:
        magic, _, system = (_TensorUnpickler(file, path).load() for _ in range(3))
        if magic != STREAM_MAGIC:
            raise ValueError("it is neither a zip file nor an older checkpoint")
        if not system["little_endian"]:
            raise InputError(f"{path} is in big-endian byte order, which is not read.")
        tensors = file.tell()
        _TensorUnpickler(file, path, empty).load()
        for key in _TensorUnpickler(file, path).load():
            file.read(8)  # the number of elements, once more
            storages[key] = file.read(sizes[key])
        file.seek(tensors)
        return _TensorUnpickler(file, path, lambda key, _: storages[key]).load()


class _Storage:
    """The name of a storage's class, as pickled: only its element type is of use."""

    def __init__(self, dtype):
        self.dtype = np.dtype(dtype)


class _Settings(argparse.Namespace):
    """Where `argparse.Namespace` stood (training scripts save their arguments beside the weights)."""


def _rebuild_tensor(storage, offset, shape, stride, *_) -> np.ndarray:
    """`torch._utils._rebuild_tensor_v2`: a view of a storage, checked to stay within it."""
    shape, stride = tuple(map(int, shape)), tuple(map(int, stride))
    if len(shape) != len(stride) or min((offset, *shape, *stride)) < 0:
        raise ValueError(f"a tensor of shape {shape} has strides {stride} and offset {offset}")
    if 0 in shape:
        return np.empty(shape, storage.dtype)
    if offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True)) >= storage.size:
        raise ValueError(f"a tensor of shape {shape} reaches beyond its storage of {storage.size} elements")
    bytes_of = tuple(step * storage.itemsize for step in stride)
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, bytes_of).copy()


def _rebuild_parameter(tensor, *_) -> np.ndarray:
    return tensor


KNOWN = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch", "Size"): tuple,
    ("argparse", "Namespace"): _Settings,
}


class _TensorUnpickler(pickle.Unpickler):
    """Unpickles tensors and plain containers; whatever else a pickle names is an error.

    Args:
        file: Where the pickle begins.
        path: Named in errors.
        read: The bytes of a storage, by its key and its size in bytes.
    """

    def __init__(self, file, path: Path, read: Callable[[str, int], bytes] | None = None):
        super().__init__(file, encoding="utf-8")
        self._path = path
        self._read: Any = read
        self._storages: dict[str, np.ndarray] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module in ("torch", "torch.storage") and name in STORAGES:
            return _Storage(STORAGES[name])
        if (module, name) in KNOWN:
            return KNOWN[module, name]
        raise InputError(
            f"{self._path} asks for {module}.{name}, which a file of weights does not need, and nothing in it was run. "
            "Save only `model.state_dict()`, or use the .safetensors file."
        )

    def persistent_load(self, pid: Any) -> np.ndarray:
        _, storage, key, _, size, *_ = pid
        if key not in self._storages:
            raw = np.frombuffer(self._read(key, size * storage.dtype.itemsize), storage.dtype)
            if raw.size < size:
                raise ValueError(f"storage {key} ends after {raw.size} of {size} elements")
            self._storages[key] = raw
        return self._storages[key]
