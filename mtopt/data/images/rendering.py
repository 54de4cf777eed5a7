"""Scenes before a pinhole camera: colour, class, depth and normal of every pixel."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int

from mtopt.data.images.surfaces import MIRROR, Points, Surface, Vector, blocked, dot

IGNORED = -1
"""The class of a pixel that holds more than one surface."""
AMBIENT = 0.3
"""The share of light that comes from everywhere, and casts no shadow."""
SIGHT = 20.0
"""Metres, along the axis of the camera, beyond which nothing is seen but the sky."""
REACH = 8.0
"""Likewise, beyond which a sensor measures no depth."""
GRAZING = 0.15
"""The cosine between a normal and the ray below which too little light returns."""
DAZZLING = 0.99
"""That between a glossy surface and what would mirror the sensor's light, above which
the sensor is dazzled."""


@dataclasses.dataclass(frozen=True)
class Camera:
    r"""A pinhole at the origin that looks along z.

    The ray of the pixel in row i and column j, counted from 0, goes through its middle:

    .. math:: d_{ij} = \big((j - c) / f,\; (i - r) / f,\; 1\big)

    so that a point :math:`p = z\, d_{ij}` has depth z, its distance along the axis.

    Args:
      focal: f, in pixels, above 0.
      row: r, where the axis meets the image; (height - 1) / 2 is its middle.
      column: c, likewise.
      height: of the image, in pixels.
      width: likewise.
      baseline: how far to the right of the camera the depth sensor's projector stands,
        in metres; below 0 it stands left.

    Example:
      >>> Camera.of_size(64).rays()[:, 63, 0]
      array([-0.4921875,  0.4921875,  1.       ])
    """

    focal: float
    row: float
    column: float
    height: int
    width: int
    baseline: float = 0.1

    @staticmethod
    def of_size(size: int) -> "Camera":
        """A square image of 53 degrees, whatever its pixels."""
        return Camera(float(size), (size - 1) / 2, (size - 1) / 2, size, size)

    def mirrored(self) -> "Camera":
        """The camera whose images of mirrored scenes are these, left and right swapped.

        The projector of its depth sensor changes sides, too.
        """
        return dataclasses.replace(
            self, column=self.width - 1 - self.column, baseline=-self.baseline
        )

    def window(self, top: int, left: int, height: int, width: int) -> "Camera":
        """The camera that sees a part of the image alone.

        Args:
          top: the first row of the part.
          left: its first column.
          height: its rows.
          width: its columns.
        """
        return dataclasses.replace(
            self,
            row=self.row - top,
            column=self.column - left,
            height=height,
            width=width,
        )

    def rays(self) -> Float[np.ndarray, "3 h w"]:
        """The direction of every pixel's ray, with z = 1."""
        return self._rays(np.arange(self.height), np.arange(self.width))

    def corner_rays(self) -> Float[np.ndarray, "3 _ _"]:
        """Those of the corners between the pixels."""
        rows, columns = np.arange(self.height + 1), np.arange(self.width + 1)
        return self._rays(rows - 0.5, columns - 0.5)

    def _rays(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        y, x = (rows - self.row) / self.focal, (columns - self.column) / self.focal
        found = np.ones((3, len(rows), len(columns)))
        found[0], found[1] = x[None], y[:, None]
        return found


@dataclasses.dataclass(frozen=True)
class Scene:
    """What stands before the camera, and what lights it.

    Args:
      surfaces: one or more.
      light: where the lamp hangs, in metres.
      sky: two colours, ``[2, 3]`` from 0 to 1, between which what is behind all
        surfaces changes from top to bottom.
    """

    surfaces: tuple[Surface, ...]
    light: Vector
    sky: Float[np.ndarray, "2 3"]

    def mirrored(self) -> "Scene":
        """Its image in the plane x = 0."""
        surfaces = tuple(surface.mirrored() for surface in self.surfaces)
        return Scene(surfaces, self.light * MIRROR, self.sky)


@dataclasses.dataclass(frozen=True)
class Rendering:
    """What is known of every pixel.

    Args:
      image: colours from 0 to 1.
      classes: the label of the surface, 0 where there is nothing, :data:`IGNORED` where
        the pixel's corners do not all show the surface that its middle does.
      depth: z in metres; 0 where there is nothing.
      normals: unit vectors to the camera's side, x to the right, y down, z away; zeros
        where there is nothing.
      holes: where a depth sensor would measure nothing.
    """

    image: Float[np.ndarray, "h w 3"]
    classes: Int[np.ndarray, "h w"]
    depth: Float[np.ndarray, "h w"]
    normals: Float[np.ndarray, "h w 3"]
    holes: Bool[np.ndarray, "h w"]


def render(scene: Scene, camera: Camera) -> Rendering:
    r"""Casts one ray through the middle of each pixel.

    A surface of albedo a and normal n, lit by the lamp from the direction l, and seen
    from the direction v, has the colour

    .. math::
       a\, \big(\alpha + (1 - \alpha)\, s\, \max(0, n^\top l)\big)
       + g\, s\, \max(0, n^\top h)^{32} / 2

    clipped to 1, with :math:`\alpha` the ambient light, s = 0 in a shadow and 1
    elsewhere, h the unit vector half way between l and v, and g = 1 where it is glossy.

    What is farther than 20 m is lost in the sky, so that a floor without a wall ends.

    A depth sensor is a projector beside the camera, whose light must come back. It
    leaves **holes** where there is nothing, farther than 8 m, at grazing surfaces (a
    cosine below 0.15 between normal and ray), where something stands between the point
    and the projector (a band along one side of what is near), and where a glossy
    surface mirrors the projector into the camera (a cosine above 0.99 to half way).

    Everything is decided by a pixel's own rays: a part of an image is the image of
    :meth:`Camera.window`, and the image of a mirrored scene the mirrored image, to the
    bit.

    Args:
      scene: surfaces that do not contain the camera.
      camera: where the image is taken.

    Returns:
      All of it in float64.

    Example:
      >>> from mtopt.data.images.surfaces import Sphere
      >>> ball = Sphere(label=3, albedo=np.ones(3), centre=np.array([0., 0., 5.]),
      ...               radius=1.0)
      >>> scene = Scene((ball,), light=np.zeros(3), sky=np.zeros((2, 3)))
      >>> seen = render(scene, Camera.of_size(9))
      >>> seen.classes[4].tolist()
      [0, 0, -1, 3, 3, 3, -1, 0, 0]
      >>> float(seen.depth[4, 4]), seen.normals[4, 4].tolist()
      (4.0, [0.0, 0.0, -1.0])
    """
    rays = camera.rays()
    depth, index = _nearest(scene.surfaces, rays)
    found = index >= 0
    which = index[found]
    points = rays[:, found] * depth[found]
    towards = rays[:, found] / np.sqrt(dot(rays, rays))[found]
    labels = np.array([0, *(s.label for s in scene.surfaces)])[index + 1]
    normals = _gathered(which, [s.normals for s in scene.surfaces], points)
    glossy = np.array([s.glossy for s in scene.surfaces], bool)[which]
    albedo = np.stack([s.albedo for s in scene.surfaces], axis=1)[:, which]

    lit = ~blocked(scene.surfaces, points, scene.light)
    shade, highlight = _lamp(points, normals, towards, scene.light)
    colours = albedo * (AMBIENT + (1 - AMBIENT) * lit * shade) + 0.5 * (
        glossy * lit * highlight
    )
    projector = np.array([camera.baseline, 0.0, 0.0])
    holes = (
        (points[2] > REACH)
        | (-dot(normals, towards) < GRAZING)
        | blocked(scene.surfaces, points, projector)
        | (glossy & (_mirroring(points, normals, towards, projector) > DAZZLING))
    )
    mixed = _mixed(index, _nearest(scene.surfaces, camera.corner_rays())[1])
    return Rendering(
        image=_placed(found, np.minimum(colours, 1), _sky(rays, scene.sky)),
        classes=np.where(mixed, IGNORED, labels),
        depth=np.where(found, depth, 0.0),
        normals=_placed(found, normals, np.zeros((*found.shape, 3))),
        holes=_placed(found, holes, np.ones(found.shape, bool)),
    )


def _nearest(
    surfaces: tuple[Surface, ...], rays: Float[np.ndarray, "3 h w"]
) -> tuple[Float[np.ndarray, "h w"], Int[np.ndarray, "h w"]]:
    """Depth and number of the surface that each ray meets first, -1 of none."""
    depth = np.full(rays.shape[1:], SIGHT)
    index = np.full(rays.shape[1:], -1)
    camera = np.zeros((3, 1, 1))
    for number, surface in enumerate(surfaces):
        share = surface.hit(camera, rays)
        nearer = (share > 0) & (share < depth)
        depth[nearer], index[nearer] = share[nearer], number
    return depth, index


def _gathered(
    which: Int[np.ndarray, " n"], normals: list, points: Float[np.ndarray, "3 n"]
) -> Float[np.ndarray, "3 n"]:
    """The normals of points, each by the surface that it is on."""
    found = np.empty(points.shape)
    for number, of in enumerate(normals):
        own = which == number
        found[:, own] = of(points[:, own])
    return found


def _lamp(
    points: Points, normals: Points, towards: Points, light: Vector
) -> tuple[np.ndarray, np.ndarray]:
    """What the lamp adds at points: the cosine of Lambert's law, and the highlight."""
    shade = np.maximum(dot(normals, _unit(light[:, None] - points)), 0)
    bright = np.maximum(_mirroring(points, normals, towards, light), 0)
    for _ in range(5):
        bright = bright * bright
    return shade, bright


def _mirroring(
    points: Points, normals: Points, towards: Points, source: Vector
) -> np.ndarray:
    """The cosine between normals and what would mirror a source into the camera."""
    return dot(normals, _unit(_unit(source[:, None] - points) - towards))


def _unit(vectors: Points) -> Points:
    # Of length 0 where a lamp stands exactly behind what is seen: no direction then.
    return vectors / np.maximum(np.sqrt(dot(vectors, vectors)), np.finfo(float).tiny)


def _mixed(
    index: Int[np.ndarray, "h w"], corners: Int[np.ndarray, "_ _"]
) -> Bool[np.ndarray, "h w"]:
    """Where a corner of a pixel shows another surface than its middle."""
    each = (corners[:-1, :-1], corners[:-1, 1:], corners[1:, :-1], corners[1:, 1:])
    return np.logical_or.reduce([corner != index for corner in each])


def _sky(
    rays: Float[np.ndarray, "3 h w"], sky: Float[np.ndarray, "2 3"]
) -> Float[np.ndarray, "h w 3"]:
    """What stands behind everything: from one colour to the other as rays go down."""
    down = np.clip(0.5 + rays[1] / np.sqrt(dot(rays, rays)), 0, 1)[..., None]
    return sky[0] * (1 - down) + sky[1] * down


def _placed(
    where: Bool[np.ndarray, "h w"], values: np.ndarray, beyond: np.ndarray
) -> np.ndarray:
    """The values ``[..., n]`` of some pixels, and in the others what is beyond."""
    beyond[where] = values.T
    return beyond
