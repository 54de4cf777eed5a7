"""A comparison on augmented images: what is trained, drawn and predicted."""

import json

import numpy as np

import mtopt
from experiments.common import runner
from experiments.common.building import load_dataset
from experiments.common.config import Config
from mtopt.models import functional
from mtopt.models.layers import as_floats
from mtopt.models.pixels import pixel_head

SCENES = "scenes(num_train=8, num_valid=4, num_test=4, size=16)"
DATA = f"augmented({SCENES}, by='scale_crop + flip + colour + normalise')"


def one_layer(input_shape, *, names, kind, outputs, x_axis, dtype):
    """A model of pixels that is compiled fast."""
    from flax import nnx

    class Layer(nnx.Module):
        def __init__(self, rngs):
            self.conv = nnx.Conv(input_shape[-1], 4, (3, 3), rngs=rngs, dtype=dtype)

        def __call__(self, x):
            return self.conv(as_floats(x, dtype))

    head = pixel_head(4, outputs, kind=kind, dtype=dtype)
    return functional(Layer, head, names, kind=kind, x_axis=x_axis)


def test_models_read_raw_images_and_pictures_show_them(tmp_path):
    config = Config(
        data=DATA,
        model=f"{__name__}:one_layer",
        methods=("equal_weighting",),
        steps=2,
        batch_size=4,
        eval_every=2,
        log_every=1,
        checkpoint_every=2,
        seeds=(0,),
        single_task=False,
    )
    runner.prepare(config, "scenes", None)(tmp_path)
    stored = json.loads((tmp_path / "data.json").read_text())
    assert "augment  training images, by scale_crop" in stored["words"]
    drawn = {path.stem for path in tmp_path.glob("predicted-*.png")}
    assert drawn == {f"predicted-{k}" for k in ("depth", "normals", "segmentation")}
    model = mtopt.load(tmp_path, method="equal_weighting")
    raw = next(load_dataset(SCENES, None).test.in_order(4))
    found = model.predict(np.asarray(raw.x))
    assert found["depth"].shape == (4, 16, 16)
    # The same images, normalised as those of training were.
    seen = next(load_dataset(DATA, None).test.in_order(4))
    assert seen.x.dtype == np.float32
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    expected = (np.asarray(raw.x) / 255 - mean) / std
    np.testing.assert_allclose(seen.x, expected, atol=1e-5)
