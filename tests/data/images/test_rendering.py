"""The renderer: depth, normals, shadows and holes worked out by hand, to the bit."""

import dataclasses

import numpy as np
import pytest

from mtopt.data.images.random_scenes import BOX, FLOOR, SPHERE, WALL, random_scene
from mtopt.data.images.rendering import AMBIENT, IGNORED, Camera, Scene, render
from mtopt.data.images.surfaces import Box, Plane, Sphere

GREY = np.full(3, 0.2)
BLACK = np.zeros((2, 3))
CAMERA = Camera(focal=100.0, row=100.0, column=100.0, height=201, width=201)
MIDDLE = (100, 100)


def vector(*values):
    return np.array(values, float)


def sphere(x, y, z, radius, **look):
    look = {"label": SPHERE, "albedo": GREY, **look}
    return Sphere(centre=vector(x, y, z), radius=float(radius), **look)


def wall(z, **look):
    look = {"label": WALL, "albedo": GREY, **look}
    return Plane(normal=vector(0, 0, -1), offset=-float(z), **look)


def seen(*surfaces, light=(0, 0, 0), sky=BLACK, camera=CAMERA):
    return render(Scene(surfaces, vector(*light), sky), camera)


def random_scenes(count, seed=0):
    rng = np.random.default_rng(seed)
    return [random_scene(rng) for _ in range(count)]


def test_a_sphere_on_the_axis():
    """Of radius 3, 5 m away: 2 m to its front, and its outline at a slope of 3 / 4."""
    found = seen(sphere(0, 0, 5, 3))
    assert found.depth[MIDDLE] == 2
    np.testing.assert_array_equal(found.normals[MIDDLE], [0, 0, -1])
    # 50 pixels to the right, |z (1/2, 0, 1) - (0, 0, 5)| = 3 has the root below.
    z = (5 - np.sqrt(5)) / 1.25
    np.testing.assert_allclose(found.depth[100, 150], z, rtol=1e-14)
    normal = (z * vector(0.5, 0, 1) - vector(0, 0, 5)) / 3
    np.testing.assert_allclose(found.normals[100, 150], normal, rtol=1e-14)
    assert found.depth[100, 174] > 0 == found.depth[100, 176]
    assert found.normals[100, 174].any() > found.normals[100, 176].any()


def test_pixels_that_an_outline_runs_through_have_no_class():
    """That of the sphere is a circle of 75 pixels."""
    found = seen(sphere(0, 0, 5, 3))
    corners = np.arange(202) - 100.5
    inside = np.hypot(corners[:, None], corners) < 75
    four = inside[:-1, :-1], inside[:-1, 1:], inside[1:, :-1], inside[1:, 1:]
    expected = np.where(np.all(four, axis=0), SPHERE, IGNORED)
    expected[~np.any(four, axis=0)] = 0
    np.testing.assert_array_equal(found.classes, expected)


def test_a_line_is_left_between_surfaces_of_one_class():
    """Two walls meet half a pixel right of the axis, in a corner of pixels."""
    root = np.sqrt(0.5)
    left = Plane(
        label=WALL, albedo=GREY, normal=vector(root, 0, -root), offset=-4 * root
    )
    camera = dataclasses.replace(CAMERA, column=100.25)
    found = seen(left, left.mirrored(), camera=camera)
    expected = np.full((201, 201), WALL)
    expected[:, 100] = IGNORED
    np.testing.assert_array_equal(found.classes, expected)
    assert found.normals[100, 99, 0] > 0 > found.normals[100, 101, 0]


def test_the_floor_is_its_height_over_the_slope_away_and_ends():
    floor = Plane(label=FLOOR, albedo=GREY, normal=vector(0, -1, 0), offset=-1.5)
    sky = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    found = seen(floor, sky=sky)
    slope = (np.arange(201) - 100) / 100
    reached = slope >= 1.5 / 20
    np.testing.assert_allclose(
        found.depth[reached, 7], 1.5 / slope[reached], rtol=1e-14
    )
    assert (found.classes[109:] == FLOOR).all()
    assert (found.classes[:107] == 0).all()
    for nothing in (found.depth, found.normals):
        assert not nothing[:107].any()
    # On the axis the sky is half of each colour, and bluer above.
    np.testing.assert_array_equal(found.image[MIDDLE], [0.5, 0, 0.5])
    assert found.image[50, 100, 2] > 0.9


def test_a_box_before_the_camera_and_one_on_edge():
    box = Box(
        label=BOX,
        albedo=GREY,
        centre=vector(0, 0, 5),
        axes=np.eye(3),
        half=vector(1, 0.5, 1),
    )
    found = seen(box)
    expected = np.zeros((201, 201))
    expected[88:113, 75:126] = 4  # half a metre or 1 m, 4 m away
    np.testing.assert_array_equal(found.depth[:, 76:125], expected[:, 76:125])
    assert not found.depth[:, [74, 126]].any()
    np.testing.assert_array_equal(found.normals[MIDDLE], [0, 0, -1])
    root = np.sqrt(0.5)
    turned = np.array([[root, 0, root], [0, 1, 0], [-root, 0, root]])
    found = seen(dataclasses.replace(box, axes=turned))
    np.testing.assert_allclose(found.depth[MIDDLE], 5 - np.sqrt(2), rtol=1e-14)
    for column, side in ((95, -1), (105, 1)):
        np.testing.assert_allclose(
            found.normals[100, column], [side * root, 0, -root], rtol=1e-14
        )


def test_what_is_nearer_hides_what_is_behind():
    one, other = sphere(0, 0, 5, 1), sphere(0, 0, 9, 2, label=BOX)
    for surfaces in ((one, other), (other, one)):
        found = seen(*surfaces)
        assert (found.depth[MIDDLE], found.classes[MIDDLE]) == (4, SPHERE)
        assert found.classes[100, 121] == BOX


def test_light_falls_by_lamberts_law():
    """A wall 4 m away, lit from the camera, at a slope of 3 / 4: a cosine of 4 / 5."""
    found = seen(wall(4.0))
    np.testing.assert_allclose(found.image[MIDDLE], GREY, rtol=1e-14)
    shaded = GREY * (AMBIENT + (1 - AMBIENT) * 0.8)
    np.testing.assert_allclose(found.image[100, 175], shaded, rtol=1e-14)
    # Light from behind is none.
    behind = seen(wall(4.0), light=(0, 0, 9))
    np.testing.assert_allclose(behind.image[50, 175], GREY * AMBIENT, rtol=1e-14)


def test_a_sphere_throws_a_shadow():
    """The lamp is 2 m to the right; half way to the middle of the wall is a sphere."""
    surfaces = wall(4.0), sphere(1, 0, 2, 0.3)
    dark = seen(*surfaces, light=(2, 0, 0))
    np.testing.assert_allclose(dark.image[MIDDLE], GREY * AMBIENT, rtol=1e-14)
    light = seen(*surfaces, light=(-2, 0, 0))
    cosine = 4 / np.sqrt(20)
    np.testing.assert_allclose(
        light.image[MIDDLE], GREY * (AMBIENT + (1 - AMBIENT) * cosine), rtol=1e-14
    )


def test_glossy_surfaces_have_a_highlight():
    matt, glossy = seen(wall(4.0)), seen(wall(4.0, glossy=True))
    more = glossy.image - matt.image
    np.testing.assert_allclose(more[MIDDLE], np.full(3, 0.5), rtol=1e-14)
    # The lamp being at the camera, the half-way vector is the ray's.
    np.testing.assert_allclose(more[100, 175], np.full(3, 0.5 * 0.8**32), rtol=1e-12)
    white = seen(wall(4.0, glossy=True, albedo=np.ones(3)))
    assert white.image.max() == 1


def holes(*surfaces, baseline=0.0):
    return seen(*surfaces, camera=dataclasses.replace(CAMERA, baseline=baseline)).holes


def test_a_sensor_sees_nothing_that_is_far_or_not_there():
    assert not holes(wall(7.9)).any()
    assert holes(wall(8.1)).all()
    assert holes(sphere(0, 0, 5, 1))[0].all()


def test_a_sensor_is_dazzled_where_gloss_mirrors_its_light():
    """Up to arccos 0.99, which is 14.2 pixels from the middle."""
    assert not holes(wall(4.0)).any()
    row = holes(wall(4.0, glossy=True))[100]
    np.testing.assert_array_equal(row, np.abs(np.arange(201) - 100) <= 14)


def test_a_sensor_loses_what_is_grazed():
    """Of a sphere, where the normal is more than arccos 0.15 from the ray."""
    found = seen(sphere(0, 0, 5, 3), camera=dataclasses.replace(CAMERA, baseline=0.0))
    rays = CAMERA.rays()
    rays /= np.linalg.norm(rays, axis=0)
    cosine = -(found.normals * rays.transpose(1, 2, 0)).sum(axis=-1)
    assert (found.holes & (cosine > 0)).any()
    np.testing.assert_array_equal(found.holes, cosine < 0.15)


@pytest.mark.parametrize("side", [-1, 1])
def test_a_projector_leaves_a_band_beside_what_is_near(side):
    """1 m aside, it sees of the wall 4 m away what is not behind a sphere 2 m away.

    That is where rays go by on the other side: its shadow is around x = -side, which is
    25 pixels from the middle, as far as the tangent from the projector says.
    """
    row = holes(wall(4.0), sphere(0, 0, 2, 0.2), baseline=float(side))[100]
    lost = np.sort((np.flatnonzero(row) - 100) * -side)
    towards, spread = np.arctan2(1, 2), np.arcsin(0.2 / np.sqrt(5))
    near, far = (4 * np.tan(towards + s * spread) - 1 for s in (-1, 1))
    band = lost[lost > 11]  # beside the sphere's own grazed outline
    np.testing.assert_array_equal(
        band, np.arange(np.ceil(25 * near), np.floor(25 * far) + 1)
    )


def test_normals_are_of_length_1_and_face_the_camera():
    for scene in random_scenes(20):
        camera = Camera.of_size(48)
        found = render(scene, camera)
        something = found.depth > 0
        length = np.linalg.norm(found.normals, axis=-1)
        np.testing.assert_allclose(length, something, atol=1e-12)
        facing = (found.normals * camera.rays().transpose(1, 2, 0)).sum(axis=-1)
        np.testing.assert_array_equal(facing < 0, something)


def from_depth(scene, size):
    """Angles, in degrees, between normals and those of differences of depth.

    Where a pixel and its eight neighbours have one class; of flat pixels, whose normals
    are all one, and of spheres that are not seen at a grazing angle.
    """
    camera = Camera.of_size(size)
    found = render(scene, camera)
    points = found.depth[..., None] * camera.rays().transpose(1, 2, 0)
    down, right = (
        points[2:, 1:-1] - points[:-2, 1:-1],
        points[1:-1, 2:] - points[1:-1, :-2],
    )
    cross = np.cross(right, down)
    normals = found.normals[1:-1, 1:-1]
    sine = np.linalg.norm(np.cross(cross, normals), axis=-1)
    angle = np.degrees(np.arctan2(sine, -(cross * normals).sum(axis=-1)))
    windows = np.lib.stride_tricks.sliding_window_view
    classes = windows(found.classes, (3, 3))
    own = found.classes[1:-1, 1:-1]
    whole = (classes == own[..., None, None]).all(axis=(2, 3)) & (own > 0)
    around = windows(found.normals, (3, 3), axis=(0, 1))
    flat = (np.ptp(around, axis=(3, 4)) == 0).all(axis=-1) & (own != SPHERE)
    ray = camera.rays()[:, 1:-1, 1:-1]
    facing = -(normals * (ray / np.linalg.norm(ray, axis=0)).transpose(1, 2, 0)).sum(-1)
    return angle[whole & flat], angle[whole & (own == SPHERE) & (facing > 0.5)]


def test_normals_are_those_of_differences_of_depth():
    """Exactly on planes; on spheres the error is of second order in a pixel's size."""
    flat, coarse, fine = [], [], []
    for scene in random_scenes(12, seed=1):
        on_planes, on_spheres = from_depth(scene, 64)
        flat, coarse = [*flat, on_planes], [*coarse, on_spheres]
        fine.append(from_depth(scene, 128)[1])
    flat, coarse, fine = (np.concatenate(each) for each in (flat, coarse, fine))
    assert len(flat) > 20_000
    assert flat.max() < 1e-5
    assert len(coarse) > 1_000
    assert coarse.max() < 3
    assert 3.5 < np.median(coarse) / np.median(fine) < 4.5


def test_the_image_of_a_mirrored_scene_is_the_mirrored_image():
    camera = Camera(30.0, 11.5, 20.25, 24, 40)
    for scene in random_scenes(20, seed=2):
        one = render(scene, camera)
        other = render(scene.mirrored(), camera.mirrored())
        for field in ("image", "classes", "depth", "holes"):
            np.testing.assert_array_equal(
                getattr(one, field)[:, ::-1], getattr(other, field)
            )
        turned = one.normals[:, ::-1] * [-1, 1, 1]
        np.testing.assert_array_equal(turned, other.normals)
    assert not np.array_equal(one.depth, other.depth)


def test_a_part_of_an_image_is_the_image_of_a_window():
    camera = Camera.of_size(40)
    for scene in random_scenes(20, seed=3):
        whole = render(scene, camera)
        part = render(scene, camera.window(top=7, left=12, height=17, width=23))
        for field in ("image", "classes", "depth", "normals", "holes"):
            np.testing.assert_array_equal(
                getattr(whole, field)[7:24, 12:35], getattr(part, field)
            )


def test_a_larger_image_shows_the_same():
    """Every third pixel of the larger one has the ray of one of the smaller one."""
    for scene in random_scenes(5):
        small, large = (render(scene, Camera.of_size(size)) for size in (16, 48))
        np.testing.assert_allclose(small.depth, large.depth[1::3, 1::3], rtol=1e-9)
        np.testing.assert_allclose(small.image, large.image[1::3, 1::3], rtol=1e-9)
