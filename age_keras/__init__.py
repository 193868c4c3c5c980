"""How old is the writer, and what did they write? Honest experiments on handwriting, in Keras 3."""

__version__ = "0.1.0"
