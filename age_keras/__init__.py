"""How old is the writer, and what did they write? Honest experiments on handwriting, in Keras 3."""

import os
import platform
import sys

__version__ = "0.1.0"

# TensorFlow leaves oneDNN's kernels off on AMD, where a training step takes 0.5 to 0.8 of the time with them
# (docs/performance.md). A user's own setting stands. Not after TensorFlow: it reads the variable in several places,
# some of them late, and half switched on, the same training would not give the same result twice.
if platform.machine().lower() in ("x86_64", "amd64") and "tensorflow" not in sys.modules:
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
