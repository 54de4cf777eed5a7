"""Data sets that tensorflow-datasets has prepared, read without TensorFlow."""
