"""Sets written as tensorflow-datasets prepares them, without TensorFlow."""

import io

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image


def write(folder, name, features, splits, config=None):
    """A set of some features: split to examples, nested as these are.

    Images are arrays, which are written as PNG.
    """
    nested = tfds.features.FeaturesDict(features)
    encoded = {
        split: [(i, _encoded(nested, example)) for i, example in enumerate(examples)]
        for split, examples in splits.items()
    }
    builder = type(
        name,
        (tfds.core.GeneratorBasedBuilder,),
        {
            "__module__": __name__,
            "name": name,
            "VERSION": tfds.core.Version("1.0.0"),
            "BUILDER_CONFIGS": [tfds.core.BuilderConfig(name=config)] if config else [],
            "url_infos": None,  # Nothing is downloaded: no checksums to look for.
            "_info": lambda self: tfds.core.DatasetInfo(
                builder=self, features=nested, disable_shuffling=True
            ),
            "_split_generators": lambda self, dl_manager: encoded,
            "_generate_examples": None,
        },
        skip_registration=True,
    )
    builder(data_dir=folder, file_format="array_record").download_and_prepare()
    return folder


def mocked(folder, name, change=None, **counts):
    """A set that tfds knows, of random examples as ``tfds.testing`` mocks them.

    ``change`` makes another example of one and its number.
    """
    with tfds.testing.mock_data(num_examples=max(counts.values())):
        builder = tfds.builder(name)
        source = builder.as_data_source("train")
        every = [source[i] for i in range(max(counts.values()))]
    if change is not None:
        every = [change(example, i) for i, example in enumerate(every)]
    splits = {split: every[:count] for split, count in counts.items()}
    own, _, config = name.partition("/")
    return write(folder, own, dict(builder.info.features.items()), splits, config)


def _encoded(feature, example):
    """Images as files: tfds would encode arrays with TensorFlow."""
    if isinstance(feature, tfds.features.FeaturesDict):
        return {key: _encoded(feature[key], own) for key, own in example.items()}
    if not isinstance(feature, tfds.features.Image):
        return example
    file = io.BytesIO()
    array = np.asarray(example)
    image = array[..., 0] if array.shape[2] == 1 else array
    Image.fromarray(image).save(file, "PNG")
    file.seek(0)
    return file
