"""Planes, spheres and boxes: where a ray meets them, and which way they face there.

Sums over x, y and z are written out term by term: numbers of a pixel then depend on
nothing but its ray, and those of a mirrored scene are the same to the bit.
"""

import abc
import dataclasses

import numpy as np
from jaxtyping import Bool, Float
from typing_extensions import override

MIRROR = np.array([-1.0, 1.0, 1.0])
"""What a point is multiplied by to be its image in the plane x = 0."""

Points = Float[np.ndarray, "3 ..."]
"""x to the right, y down, z away from the camera, in metres, on the first axis."""
Vector = Float[np.ndarray, "3"]


def dot(a: Points, b: Points) -> Float[np.ndarray, "..."]:
    """The inner products of points, or of all points with one vector."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Surface(abc.ABC):
    """What a ray can meet.

    Args:
      label: its class, at least 1.
      albedo: the share of light that it returns, red, green and blue, 0 to 1.
      glossy: whether it has a highlight.
    """

    label: int
    albedo: Vector
    glossy: bool = False

    @abc.abstractmethod
    def hit(self, origin: Points, direction: Points) -> Float[np.ndarray, "..."]:
        """How many ``direction`` lie between ``origin`` and the surface.

        Negative where it is behind the ray, inf where the ray does not meet it.
        """

    @abc.abstractmethod
    def normals(self, points: Float[np.ndarray, "3 n"]) -> Float[np.ndarray, "3 n"]:
        """Outward unit vectors at points of the surface."""

    @abc.abstractmethod
    def mirrored(self) -> "Surface":
        """Its image in the plane x = 0."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plane(Surface):
    r"""All points p of :math:`n^\top p = d`.

    Args:
      normal: n, a unit vector to the side of the camera.
      offset: d, below 0 then.
    """

    normal: Vector
    offset: float

    @override
    def hit(self, origin: Points, direction: Points) -> Float[np.ndarray, "..."]:
        with np.errstate(divide="ignore", invalid="ignore"):
            found = (self.offset - dot(self.normal, origin)) / dot(
                self.normal, direction
            )
        return _or_never(found)

    @override
    def normals(self, points: Float[np.ndarray, "3 n"]) -> Float[np.ndarray, "3 n"]:
        return np.broadcast_to(self.normal[:, None], points.shape)

    @override
    def mirrored(self) -> "Plane":
        return dataclasses.replace(self, normal=self.normal * MIRROR)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sphere(Surface):
    """All points at one distance from a centre, seen from outside.

    Args:
      centre: in metres.
      radius: in metres, above 0.
    """

    centre: Vector
    radius: float

    @override
    def hit(self, origin: Points, direction: Points) -> Float[np.ndarray, "..."]:
        across = _from(self.centre, origin)
        a, b = dot(direction, direction), dot(direction, across)
        root = b * b - a * (dot(across, across) - self.radius**2)
        met = root > 0
        return np.where(met, (-b - np.sqrt(np.where(met, root, 0))) / a, np.inf)

    @override
    def normals(self, points: Float[np.ndarray, "3 n"]) -> Float[np.ndarray, "3 n"]:
        return _from(self.centre, points) / self.radius

    @override
    def mirrored(self) -> "Sphere":
        return dataclasses.replace(self, centre=self.centre * MIRROR)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Box(Surface):
    """Six rectangles, turned any way, seen from outside.

    Args:
      centre: in metres.
      axes: three orthogonal unit vectors, a row each.
      half: half of its extent along each axis, in metres, above 0.
    """

    centre: Vector
    axes: Float[np.ndarray, "3 3"]
    half: Vector

    @override
    def hit(self, origin: Points, direction: Points) -> Float[np.ndarray, "..."]:
        across = _from(self.centre, origin)
        enters, leaves = np.float64(-np.inf), np.float64(np.inf)
        for axis, half in zip(self.axes, self.half, strict=True):
            place, along = dot(axis, across), dot(axis, direction)
            with np.errstate(divide="ignore", invalid="ignore"):
                one, other = (-half - place) / along, (half - place) / along
            # Along a face both may be NaN, which fmin and fmax pass over.
            enters = np.fmax(enters, np.fmin(one, other))
            leaves = np.fmin(leaves, np.fmax(one, other))
        return np.where(enters < leaves, enters, np.inf)

    @override
    def normals(self, points: Float[np.ndarray, "3 n"]) -> Float[np.ndarray, "3 n"]:
        across = _from(self.centre, points)
        places = np.stack([dot(axis, across) for axis in self.axes])
        places /= self.half[:, None]
        face = np.abs(places).argmax(axis=0)
        side = np.sign(np.take_along_axis(places, face[None], axis=0))
        return side * self.axes[face].T

    @override
    def mirrored(self) -> "Box":
        return dataclasses.replace(
            self, centre=self.centre * MIRROR, axes=self.axes * MIRROR[None]
        )


def blocked(
    surfaces: tuple[Surface, ...], points: Float[np.ndarray, "3 n"], target: Vector
) -> Bool[np.ndarray, " n"]:
    """Whether anything stands between points of the surfaces and a target.

    Args:
      surfaces: what may.
      points: on them.
      target: a light, say, in metres.
    """
    towards = target[:, None] - points
    found = np.zeros(points.shape[1], bool)
    for surface in surfaces:
        share = surface.hit(points, towards)
        # A point is no obstacle to itself, whatever rounding makes of 0.
        found |= (share > 1e-6) & (share < 1)
    return found


def _from(centre: Vector, points: Points) -> Points:
    return points - centre.reshape(3, *[1] * (points.ndim - 1))


def _or_never(share: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Infinity in place of 0 / 0: a ray within a plane does not meet it."""
    return np.where(np.isnan(share), np.inf, share)
