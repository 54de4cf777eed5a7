"""Transformations of an image and its labels, each of a key."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, Shaped
from typing_extensions import override

from mtopt.data.augment.sample import Labels, Sample
from mtopt.data.augment.window import Window
from mtopt.errors import UserError, expect, expect_number
from mtopt.grammar import CallText
from mtopt.pixels import DEPTH, NO_LABEL, NORMALS, PIXELS

LUMA = (0.299, 0.587, 0.114)
"""What red, green and blue add to the brightness that is seen (ITU-R BT.601)."""


@runtime_checkable
class Transformation(Protocol):
    """What is done to a sample, such as a frozen dataclass of numbers and tuples.

    Attributes:
      random: whether it reads its key. One that does not is part of what the inputs
        are: it comes after those that do, and stays in validation, test and
        predictions.
    """

    random: ClassVar[bool]

    def __call__(self, sample: Sample, key: PRNGKeyArray) -> Sample:
        """The sample that a key makes of one, of the same shapes; pure, for JAX."""
        ...


@dataclasses.dataclass(frozen=True)
class ScaleCrop(Transformation):
    r"""Cuts a random window out of an image, and resizes it to the image's size.

    A scale :math:`s` is drawn among ``scales``, then where a window of
    :math:`H / s \times W / s` pixels stands, on whole pixels, anywhere in the image;
    of a scale below 1, anywhere around it. What is seen :math:`s` times as large is
    taken for as much nearer: depths are divided by :math:`s`, inverse depths
    multiplied, and normals keep their directions. Images are interpolated
    bilinearly; labels are those of the nearest pixel, so that none is mixed with
    another, or with none. Outside of the image nothing has a label, and the image
    is 0.

    Args:
      scales: one or more numbers above 0.

    Raises:
      UserError: for a scale that is none.

    Example:
      >>> ramp = jnp.arange(16.0).reshape(1, 4, 4)
      >>> sample = Sample(jnp.ones((4, 4, 1)), (Labels(ramp, "depth"),))
      >>> (depth,) = ScaleCrop((2.0,))(sample, jax.random.key(0)).labels
      >>> print(2 * depth.values[0])
      [[ 8.  8.  9.  9.]
       [ 8.  8.  9.  9.]
       [12. 12. 13. 13.]
       [12. 12. 13. 13.]]

    References:
      Eigen, Puhrsch and Fergus, Depth Map Prediction from a Single Image using a
      Multi-Scale Deep Network, 2014, arXiv 1406.2283: scales of 1 to 1.5, depths
      divided by them. Xu et al., PAD-Net: Multi-Tasks Guided
      Prediction-and-Distillation Network, 2018, arXiv 1805.04409: scales of 1, 1.2
      and 1.5, with flips, which became the protocol of NYUv2.

    Differences from released code:
      That of the NYUv2 lineage (``RandomScaleCrop`` of MTAN, CAGrad, LibMTL) rounds
      the window down to whole pixels and still divides by :math:`s`; it places
      pixels of images and normals by their corners (``align_corners``) and those of
      classes and depth by their upper left edges, so that they are up to a pixel
      apart; it mixes normals with (0, 0, 0) at holes, and leaves them shorter than 1.
      Here all are sampled at the centres of the same pixels. On Cityscapes it also
      divides inverse depths by :math:`s`.
    """

    scales: tuple[float | int, ...] = (1.0, 1.2, 1.5)
    random: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _expect_numbers("scales", self.scales)
        for scale in self.scales:
            expect_number("scales", scale, above=0)

    @override
    def __call__(self, sample: Sample, key: PRNGKeyArray) -> Sample:
        of_scale, of_row, of_column = jax.random.split(key, 3)
        which = jax.random.randint(of_scale, (), 0, len(self.scales))
        scale = jnp.asarray(self.scales)[which]
        height, width, _ = sample.image.shape
        rows = Window.drawn(of_row, height, self.scales, which)
        columns = Window.drawn(of_column, width, self.scales, which)

        def cut(labels: Labels) -> Any:
            none = NO_LABEL[labels.kind]
            values = rows.nearest(labels.values, axis=1, outside=none)
            values = columns.nearest(values, axis=2, outside=none)
            if labels.kind != DEPTH:
                return values
            wide = values.astype(jnp.promote_types(values.dtype, jnp.float32))
            return (wide * scale if labels.inverse else wide / scale).astype(
                values.dtype
            )

        image = rows.bilinear(sample.image.astype(jnp.float32), axis=0)
        image = columns.bilinear(image, axis=1)
        return sample.with_labels(
            _as(image, sample.image.dtype), dict.fromkeys(PIXELS, cut)
        )


@dataclasses.dataclass(frozen=True)
class Flip(Transformation):
    """Mirrors an image left to right; the first component of normals turns its sign.

    Args:
      share: of the images that are mirrored, in [0, 1].

    Raises:
      UserError: for a share outside of that.

    Example:
      >>> normal = jnp.tile(jnp.array([0.6, 0.0, 0.8]), (1, 1, 2, 1))
      >>> image = jnp.array([[[0.0], [1.0]]])
      >>> flipped = Flip(1.0)(
      ...     Sample(image, (Labels(normal, "normals"),)), jax.random.key(0))
      >>> flipped.image[0, :, 0].tolist()
      [1.0, 0.0]
      >>> print(flipped.labels[0].values[0, 0, 0].round(1))
      [-0.6  0.   0.8]
    """

    share: float = 0.5
    random: ClassVar[bool] = True

    def __post_init__(self) -> None:
        expect_number("share", self.share, at_least=0, at_most=1)

    @override
    def __call__(self, sample: Sample, key: PRNGKeyArray) -> Sample:
        turned = jax.random.bernoulli(key, self.share)

        def mirror(values: Any, axis: int) -> Any:
            return jnp.where(turned, jnp.flip(values, axis), values)

        def of_labels(labels: Labels) -> Any:
            values = mirror(labels.values, 2)
            if labels.kind != NORMALS:
                return values
            first = values[..., 0]
            # A pixel without a normal has none of -0 either.
            return values.at[..., 0].set(
                jnp.where(turned & (first != 0), -first, first)
            )

        image = mirror(sample.image, 1)
        return sample.with_labels(image, dict.fromkeys(PIXELS, of_labels))


@dataclasses.dataclass(frozen=True)
class Colour(Transformation):
    r"""Changes brightness, contrast and saturation of an image, in that order.

    .. math::
       x \leftarrow b x, \qquad x \leftarrow \bar x + c (x - \bar x), \qquad
       x \leftarrow g + s (x - g)

    in [0, 1], with :math:`\bar x` the mean brightness of the image and :math:`g` that
    of the pixel; :math:`b, c, s` are uniform in 1 plus or minus an option. What leaves
    [0, 1] is cut off. A grey image has no saturation.

    Args:
      brightness: in [0, 1].
      contrast: in [0, 1].
      saturation: in [0, 1].

    Raises:
      UserError: for an option outside of that.

    Example:
      >>> image = jnp.full((2, 2, 3), 0.5)
      >>> sample = Colour(0.2, 0.0, 0.0)(Sample(image, ()), jax.random.key(0))
      >>> bool(jnp.ptp(sample.image) == 0), bool(abs(sample.image[0, 0, 0] - 0.5) < 0.1)
      (True, True)

    References:
      Howard, Some Improvements on Deep Convolutional Neural Network Based Image
      Classification, 2013, arXiv 1312.5402.
    """

    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    random: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            expect_number(name, value, at_least=0, at_most=1)

    @override
    def __call__(self, sample: Sample, key: PRNGKeyArray) -> Sample:
        options = jnp.array([self.brightness, self.contrast, self.saturation])
        drawn = jax.random.uniform(key, (3,), minval=-1.0, maxval=1.0)
        brightness, contrast, saturation = 1 + options * drawn
        dtype = sample.image.dtype
        x = _unit(sample.image)
        grey = _grey(x)
        # The three steps are linear; done at once, they take a tenth of the time.
        mixed = saturation * x + (1 - saturation) * grey
        mean = brightness * grey.mean()
        x = brightness * contrast * mixed + (1 - contrast) * mean
        x = jnp.clip(x, 0, 1) * (255 if dtype == jnp.uint8 else 1)
        return Sample(_as(x, dtype), sample.labels)


@dataclasses.dataclass(frozen=True)
class Normalise(Transformation):
    r"""Shifts and scales the channels of an image, of every part of a data set.

    .. math:: x \leftarrow (x - \mu) / \sigma

    with pixels in [0, 1]; the result is float32.

    Args:
      mean: of each channel; unless told otherwise that of ImageNet's training images,
        which networks trained on them expect.
      std: likewise, above 0.

    Raises:
      UserError: for tuples of unequal lengths, or a deviation that is not above 0.

    Example:
      >>> image = jnp.array([[[255, 0]]], jnp.uint8)
      >>> sample = Sample(image, ())
      >>> normalise = Normalise((0.5, 0.5), (0.25, 0.5))
      >>> normalise(sample, jax.random.key(0)).image.tolist()
      [[[2.0, -1.0]]]
    """

    mean: tuple[float | int, ...] = (0.485, 0.456, 0.406)
    std: tuple[float | int, ...] = (0.229, 0.224, 0.225)
    random: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _expect_numbers("mean", self.mean)
        _expect_numbers("std", self.std)
        if len(self.mean) != len(self.std):
            raise UserError(
                f"mean is {self.mean}, std {self.std}: expected as many numbers in each"
            )
        for value in self.std:
            expect_number("std", value, above=0)

    @override
    def __call__(self, sample: Sample, key: PRNGKeyArray) -> Sample:
        del key
        channels = sample.image.shape[-1]
        if channels != len(self.mean):
            raise UserError(
                f"mean and std have {len(self.mean)} entries for images of {channels} "
                f"channel{'s' * (channels > 1)}: expected one each"
            )
        mean, std = (jnp.array(v)[None, None] for v in (self.mean, self.std))
        return Sample((_unit(sample.image) - mean) / std, sample.labels)


TRANSFORMATIONS: Mapping[str, Any] = {
    "scale_crop": ScaleCrop,
    "flip": Flip,
    "colour": Colour,
    "normalise": Normalise,
}
"""Name to transformation; one of your own is ``module:name``."""


def transformations(text: str) -> tuple[Transformation, ...]:
    """Those that a text names, in their order.

    Args:
      text: names with options, joined by ``+``.

    Raises:
      UserError: for what can't be read, or comes in an order that changes what
        validation sees.

    Example:
      >>> transformations("flip + scale_crop(scales=(1.0, 2.0))")
      (Flip(share=0.5), ScaleCrop(scales=(1.0, 2.0)))
    """
    calls = CallText.parse_sum("augmentation", text, TRANSFORMATIONS)
    found = tuple(call.build() for call in calls)
    for call, stage in zip(calls, found, strict=True):
        if not isinstance(stage, Transformation):
            raise UserError(
                f"augmentation {call.name!r} made a {type(stage).__name__}: expected a "
                "function (sample, key) with an attribute random, as those of "
                "mtopt.data.augment.transformations"
            )
    for i, stage in enumerate(found[1:]):
        if stage.random and not found[i].random:
            raise UserError(
                f"{calls[i].name!r} stands before {calls[i + 1].name!r}, and is for "
                "validation too: expected it after all that is drawn at random"
            )
    return found


def of_inputs(text: str) -> str:
    """The part of a text that is done to every image: what reads no key.

    Args:
      text: as of :func:`transformations`.

    Example:
      >>> of_inputs("flip + normalise(mean=(0.5,), std=(1.0,))")
      'normalise(mean=(0.5,), std=(1.0,))'
    """
    calls = CallText.parse_sum("augmentation", text, TRANSFORMATIONS)
    stages = zip(calls, transformations(text), strict=True)
    return " + ".join(call.text for call, stage in stages if not stage.random)


def _expect_numbers(name: str, values: Any) -> None:
    several = isinstance(values, tuple) and len(values) > 0
    expect(several, name, values, "one number or more, as in (1.0, 1.5)")


def _unit(image: Shaped[Array, "H W C"]) -> Float[Array, "H W C"]:
    """Pixels in [0, 1]."""
    x = image.astype(jnp.float32)
    return x / 255 if image.dtype == jnp.uint8 else x


def _as(image: Float[Array, "H W C"], dtype: Any) -> Shaped[Array, "H W C"]:
    """Pixels in the type that they were in, whole numbers the nearest."""
    whole = jnp.issubdtype(dtype, jnp.integer)
    return (jnp.round(image) if whole else image).astype(dtype)


def _grey(x: Float[Array, "H W C"]) -> Float[Array, "H W 1"]:
    """The brightness of each pixel."""
    channels = x.shape[-1]
    weights = LUMA if channels == len(LUMA) else (1 / channels,) * channels
    # A CPU takes long to reduce along so short an axis.
    grey = jnp.zeros_like(x[..., :1])
    for i, weight in enumerate(weights):
        grey += x[..., i : i + 1] * weight
    return grey
