"""Writes IDX files, the format in which MNIST and EMNIST are published."""

import gzip
from pathlib import Path

import numpy as np

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def write_idx(path: Path, array: np.ndarray) -> None:
    """Writes an array as an IDX file; gzipped where the name ends in `.gz`."""
    header = bytes([0, 0, CODES[array.dtype.str[1:]], array.ndim]) + np.asarray(array.shape, ">u4").tobytes()
    data = header + array.astype(array.dtype.newbyteorder(">")).tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
