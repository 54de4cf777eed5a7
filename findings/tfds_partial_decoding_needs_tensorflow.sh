#!/usr/bin/env bash
# tfds reads records without TensorFlow, but not some of their features alone.
#
# Versions: tensorflow-datasets 4.9.10, Python 3.11, no TensorFlow.
# Guess: since FeaturesDict.deserialize_example_np decodes a record without TensorFlow,
#   PartialDecoding, which leaves out features that nobody asked for (an image, where labels
#   are counted), does so too.
# Seen: PartialDecoding compares the TensorFlow types of what was asked for with those of the
#   set, and raises ModuleNotFoundError for any feature. A FeaturesDict made of the wanted
#   features alone reads the same records: features that it does not know are passed over.
# It matters to whoever counts labels or computes moments before training on a data_source.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "tensorflow-datasets==4.9.10"
"$folder/venv/bin/python" - 2> /dev/null <<'PYTHON'
import sys

import numpy as np
import tensorflow_datasets as tfds

size = tfds.features.Scalar(np.int64)
whole = tfds.features.FeaturesDict(
    {"image": tfds.features.Tensor(shape=(2,), dtype=np.uint8), "size": size}
)
record = whole.serialize_example({"image": np.array([7, 8], np.uint8), "size": 3})
print("all features:", whole.deserialize_example_np(record))
try:
    found = tfds.decode.PartialDecoding({"size": True}).extract_features(whole)
except ModuleNotFoundError as error:
    found = "ModuleNotFoundError: " + str(error).splitlines()[-1]
print("PartialDecoding:", found)
some = tfds.features.FeaturesDict({"size": size})
print("a smaller FeaturesDict:", some.deserialize_example_np(record))
assert str(found).startswith("ModuleNotFoundError"), "this has changed"
assert int(some.deserialize_example_np(record)["size"]) == 3
PYTHON
