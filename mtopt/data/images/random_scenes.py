"""Rooms with spheres and boxes on the floor, drawn at random."""

import numpy as np

from mtopt.data.images.rendering import Scene
from mtopt.data.images.surfaces import Box, Plane, Sphere, Surface

CLASSES = ("background", "floor", "wall", "sphere", "box")
FLOOR, WALL, SPHERE, BOX = range(1, len(CLASSES))
HEIGHT = 1.5
"""Metres from the floor to the camera."""
TRIES = 20
"""How often a place is looked for that an object has to itself."""


def random_scene(rng: np.random.Generator) -> Scene:
    """A floor, up to two walls, and up to six objects on the floor.

    The camera looks down by 12 to 18 degrees from 1.5 m above the floor. A wall stands
    4 to 9 m ahead, turned by up to 35 degrees, in three scenes of ten with a second at
    a right angle to it, 2 to 4 m aside; in two of ten there is none, and the floor ends
    at the sky. Objects stand 2 to 6.5 m away, spheres of a radius of 0.25 to 0.7 m as
    often as upright boxes of 0.4 to 1.4 m a side, and none of them reaches into another
    or into a wall. The lamp hangs above, near the camera. Colours, and whether a
    surface is glossy, are drawn alike for surfaces of every class, so that they say
    nothing about it.

    Args:
      rng: the randomness.
    """
    pitch = np.deg2rad(rng.uniform(12, 18))
    cos, sin = np.cos(pitch), np.sin(pitch)
    # From a room whose floor is level to what a camera sees that looks down.
    view = np.array([[1.0, 0.0, 0.0], [0.0, cos, -sin], [0.0, sin, cos]])
    sky = rng.uniform(0.1, 1, (2, 3))
    light = np.array([rng.uniform(-1, 1), rng.uniform(-2.5, -1), rng.uniform(-1, 1)])
    surfaces: list[Surface] = [
        Plane(normal=view @ [0, -1, 0], offset=-HEIGHT, **_look(FLOOR, rng))
    ]
    walls = _walls(rng)
    for outwards, distance in walls:
        surfaces.append(
            Plane(normal=-(view @ outwards), offset=-distance, **_look(WALL, rng))
        )
    taken: list[tuple[np.ndarray, float]] = []
    for _ in range(rng.integers(2, 7)):
        label = SPHERE if rng.random() < 0.5 else BOX
        half = rng.uniform(0.2, 0.7, 3)
        if label == SPHERE:
            half[:] = rng.uniform(0.25, 0.7)
        around = half[0] if label == SPHERE else np.hypot(half[0], half[2])
        place = _place(around, walls, taken, rng)
        if place is None:
            continue
        taken.append((place, around))
        centre = view @ [place[0], HEIGHT - half[1], place[1]]
        if label == SPHERE:
            surfaces.append(Sphere(centre=centre, radius=half[0], **_look(label, rng)))
            continue
        axes = _turned(rng.uniform(0, np.pi / 2)) @ view.T
        surfaces.append(Box(centre=centre, axes=axes, half=half, **_look(label, rng)))
    return Scene(tuple(surfaces), view @ light, sky)


def _walls(rng: np.random.Generator) -> list[tuple[np.ndarray, float]]:
    """The direction of each wall, level and of length 1, and its distance."""
    count = rng.choice(3, p=(0.2, 0.5, 0.3))
    side = rng.choice((-1.0, 1.0))
    right, _, ahead = _turned(np.deg2rad(rng.uniform(-35, 35)))
    back = ahead, rng.uniform(4, 9)
    return [back, (side * right, rng.uniform(2, 4))][:count]


def _place(
    around: float,
    walls: list[tuple[np.ndarray, float]],
    taken: list[tuple[np.ndarray, float]],
    rng: np.random.Generator,
) -> np.ndarray | None:
    """Where on the floor, x and z, there is room for so much around; None: nowhere."""
    for _ in range(TRIES):
        z = rng.uniform(2, 6.5)
        place = np.array([rng.uniform(-0.45, 0.45) * z, z])
        inside = all(
            outwards[[0, 2]] @ place + around < distance for outwards, distance in walls
        )
        apart = all(
            np.linalg.norm(place - other) > around + own for other, own in taken
        )
        if inside and apart:
            return place
    return None


def _turned(angle: float) -> np.ndarray:
    """Right, down and ahead, a row each, turned by an angle around the vertical."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, 0.0, -sin], [0.0, 1.0, 0.0], [sin, 0.0, cos]])


def _look(label: int, rng: np.random.Generator) -> dict:
    """A class, and colours that do not depend on it."""
    albedo, glossy = rng.uniform(0.1, 1, 3), bool(rng.random() < 1 / 3)
    return {"label": label, "albedo": albedo, "glossy": glossy}
