"""Planted scenes: labels as they are said to be, missing and permuted as told."""

import functools

import jax
import numpy as np
import pytest

from mtopt.data import Dataset, JointDataset, describe, fingerprint, scenes, summary
from mtopt.data.equal_rows import equal_rows
from mtopt.data.images.random_scenes import BOX, CLASSES, FLOOR, HEIGHT, random_scene
from mtopt.data.images.surfaces import Box, Plane, Sphere
from mtopt.errors import UserError
from tests.helpers.methods import over

COUNTS = {"num_train": 12, "num_valid": 3, "num_test": 4, "size": 16}
TASKS = ("depth", "normals", "segmentation")


@functools.cache
def made(**options):
    """A small data set, rendered once for all tests that read it."""
    return scenes(**{**COUNTS, **options})


def arrays(data, part="train"):
    """Images, and labels and mask of every task."""
    samples = [getattr(group, part).samples for group in data.groups]
    own = [(np.asarray(s.y)[0], np.asarray(s.mask)[0]) for s in samples]
    names = [group.tasks[0] for group in data.groups]
    return np.asarray(samples[0].x), dict(zip(names, own, strict=True))


def sources(given, known):
    """Which of the known arrays each given one is."""
    return [
        int(np.flatnonzero([np.array_equal(one, other) for other in known])[0])
        for one in given
    ]


def test_shapes_types_and_values():
    data = made()
    assert isinstance(data, JointDataset)
    assert (data.name, data.shared_inputs, data.tasks) == ("scenes", True, TASKS)
    assert [(g.kind, g.outputs, g.x_axis) for g in data.groups] == [
        ("depth", 1, None),
        ("normals", 3, None),
        ("segmentation", len(CLASSES), None),
    ]
    for part, count in (("train", 12), ("valid", 3), ("test", 4)):
        x, labels = arrays(data, part)
        assert (x.dtype, x.shape) == (np.uint8, (count, 16, 16, 3))
        (depth, normals, classes), masks = zip(*labels.values(), strict=True)
        assert (depth.dtype, depth.shape) == (np.float32, (count, 16, 16))
        assert (normals.dtype, normals.shape) == (np.float32, (count, 16, 16, 3))
        assert (classes.dtype, classes.shape) == (np.int32, (count, 16, 16))
        assert all(mask.shape == (count,) and mask.all() for mask in masks)
        # A number that is no valid label is the one that is said to be none.
        assert ((depth == 0) | ((depth > 0.5) & (depth <= 8))).all()
        length = np.linalg.norm(normals, axis=-1)
        np.testing.assert_allclose(length, length > 0, atol=1e-6)
        assert {*np.unique(classes)} <= {*range(-1, len(CLASSES))}
        assert (length[classes > 0] > 0).all()
        assert (length[classes == 0] == 0).all()
        assert (depth[length == 0] == 0).all()


def test_batches_have_the_labels_of_their_images():
    x, labels = arrays(made())
    batch = next(made().train.batches(5, seeds=(0,)))
    index = sources(np.asarray(batch.x[0]), x)
    for drawn, (own, _) in zip(batch.y, labels.values(), strict=True):
        np.testing.assert_array_equal(drawn[0, 0], own[index])


def test_what_a_run_prints():
    words = summary(describe(made()))
    assert "scenes: 3 groups of tasks, each on the same inputs" in words
    assert "uint8 (16, 16, 3)" in words
    assert "0: background, 1: floor, 2: wall, 3: sphere, 4: box" in words


def test_every_class_holes_and_lines_occur_at_the_default_size():
    data = scenes(num_train=60, num_valid=1, num_test=1)
    _, labels = arrays(data)
    (depth, _), (normals, _), (classes, _) = labels.values()
    shares = [(classes == label).mean() for label in range(-1, len(CLASSES))]
    assert min(shares) > 0.02
    assert max(shares) < 0.5
    assert 0.05 < (depth == 0)[normals.any(axis=-1)].mean() < 0.2


def test_without_holes_depth_is_known_wherever_anything_is_seen():
    x, holed = arrays(made())
    same, labels = arrays(made(holes=False))
    np.testing.assert_array_equal(x, same)
    (depth, _), (normals, _), _ = labels.values()
    np.testing.assert_array_equal(depth > 0, normals.any(axis=-1))
    hole = holed["depth"][0] == 0
    np.testing.assert_array_equal(holed["depth"][0], np.where(hole, 0, depth))
    assert (depth[hole] > 0).any()


def test_noise_is_on_the_images_alone():
    clean, noisy = (arrays(made(noise=noise)) for noise in (0.0, 0.05))
    jax.tree.map(np.testing.assert_array_equal, clean[1], noisy[1])
    dim = (clean[0] > 60) & (clean[0] < 195)  # far from where noise is cut off
    difference = (noisy[0].astype(float) - clean[0])[dim] / 255
    assert len(difference) > 2_000
    np.testing.assert_allclose(difference.std(), 0.05, rtol=0.05)
    assert abs(difference.mean()) < 0.005


def test_the_seed_decides():
    one, again, other = made(), scenes(**COUNTS), made(seed=1)
    assert fingerprint(one) == fingerprint(again)
    every = [arrays(data, p) for data in (one, other) for p in ("train", "test")]
    images = np.concatenate([x for x, _ in every])
    assert len(np.unique(equal_rows(images))) == len(images)
    depths = np.concatenate([labels["depth"][0] for _, labels in every])
    assert len(np.unique(equal_rows(depths))) == len(depths)


def test_scenes_do_not_depend_on_how_many_there_are():
    more = made(num_train=20)
    for part, count in (("train", 12), ("valid", 3), ("test", 4)):
        one, other = arrays(made(), part), arrays(more, part)
        jax.tree.map(
            lambda a, b, n=count: np.testing.assert_array_equal(a, b[:n]), one, other
        )


def test_missing_labels_are_those_of_each_task():
    x, labels = arrays(made(missing=0.25))
    masks = [mask for _, mask in labels.values()]
    assert [mask.sum() for mask in masks] == [9, 9, 9]
    assert len({mask.tobytes() for mask in masks}) == 3
    complete, whole = arrays(made())
    np.testing.assert_array_equal(x, complete)
    for task in TASKS:
        np.testing.assert_array_equal(labels[task][0], whole[task][0])
    for part in ("valid", "test"):
        _, labels = arrays(made(missing=0.25), part)
        assert all(mask.all() for _, mask in labels.values())


@pytest.mark.parametrize(
    ("labelled", "often"), [(3, {0: 3, 1: 9}), (4, {1: 12}), (6, {1: 6, 2: 6})]
)
def test_each_task_has_labelled_images_of_its_own(labelled, often):
    """Of 12 images; only where three tasks ask for more has one image two labels."""
    _, labels = arrays(made(labelled=labelled))
    masks = np.stack([mask for _, mask in labels.values()])
    assert masks.sum(axis=1).tolist() == [labelled] * 3
    counts, images = np.unique(masks.sum(axis=0), return_counts=True)
    assert dict(zip(counts.tolist(), images.tolist(), strict=True)) == often


@pytest.mark.parametrize(
    ("permuted", "named"),
    [(True, TASKS), ("depth", ("depth",)), (("normals", "depth"), TASKS[:2])],
)
def test_permuted_labels_are_those_of_other_images(permuted, named):
    data = made(labelled=5, permuted=permuted)
    x, labels = arrays(data)
    right_x, right = arrays(made(labelled=5))
    np.testing.assert_array_equal(x, right_x)
    for task in TASKS:
        (given, mask), (own, own_mask) = labels[task], right[task]
        np.testing.assert_array_equal(mask, own_mask)
        places = np.flatnonzero(mask)
        found = sources(given[places], own)
        assert sorted(found) == places.tolist()
        same = [a == b for a, b in zip(found, places, strict=True)]
        assert not any(same) if task in named else all(same)
    for part in ("valid", "test"):
        jax.tree.map(
            np.testing.assert_array_equal,
            arrays(data, part),
            arrays(made(), part),
        )


def test_tasks_that_are_left_out_leave_the_others_as_they_are():
    options = {"labelled": 5, "permuted": True}
    every = arrays(made(**options))
    alone, two = (
        made(tasks=tasks, **options)
        for tasks in ("normals", ("segmentation", "normals"))
    )
    assert isinstance(alone, Dataset)
    assert (alone.name, alone.tasks, two.tasks) == (
        "scenes",
        ("normals",),
        ("normals", "segmentation"),
    )
    for data in (alone, two):
        x, labels = arrays(data)
        np.testing.assert_array_equal(x, every[0])
        for task, own in labels.items():
            jax.tree.map(np.testing.assert_array_equal, own, every[1][task])


def drawn(count):
    rng = np.random.default_rng(5)
    return [random_scene(rng) for _ in range(count)]


def test_colours_say_nothing_of_classes():
    surfaces = [surface for scene in drawn(400) for surface in scene.surfaces]
    for label in range(1, len(CLASSES)):
        own = [surface for surface in surfaces if surface.label == label]
        albedo = np.stack([surface.albedo for surface in own])
        # Uniform from 0.1 to 1: a standard deviation of 0.26, of a mean of 300 0.015.
        np.testing.assert_allclose(albedo.mean(axis=0), np.full(3, 0.55), atol=0.06)
        np.testing.assert_allclose(albedo.std(axis=0), np.full(3, 0.26), atol=0.04)
        np.testing.assert_allclose(np.mean([s.glossy for s in own]), 1 / 3, atol=0.1)


def reach(surface, towards):
    """How far an object extends from its centre."""
    if isinstance(surface, Sphere):
        return surface.radius
    return np.abs(surface.half * (surface.axes @ towards)).sum()


def test_objects_stand_on_the_floor_and_in_no_other():
    for scene in drawn(50):
        floor, *others = scene.surfaces
        assert (floor.label, floor.offset) == (FLOOR, -HEIGHT)
        walls = [surface for surface in others if isinstance(surface, Plane)]
        objects = [surface for surface in others if not isinstance(surface, Plane)]
        assert {isinstance(s, Box) == (s.label == BOX) for s in objects} == {True}
        for place, one in enumerate(objects):
            above = floor.normal @ one.centre - floor.offset
            np.testing.assert_allclose(above, reach(one, floor.normal), rtol=1e-12)
            for wall in walls:
                before = wall.normal @ one.centre - wall.offset
                assert before > reach(one, wall.normal)
            for other in objects[:place]:
                between = other.centre - one.centre
                between -= floor.normal * (floor.normal @ between)  # along the floor
                apart = np.linalg.norm(between)
                towards = between / apart
                assert apart > reach(one, towards) + reach(other, towards)
        for wall in walls:
            assert wall.normal @ scene.light > wall.offset


MISUSE = {
    "num_train": (0, "num_train is 0: expected a whole number, 1 or more"),
    "num_valid": (0, "num_valid is 0"),
    "num_test": (True, "num_test is True"),
    "size": (7, "size is 7: expected a whole number, 8 or more"),
    "noise": (-0.1, "noise is -0.1: expected a number from 0"),
    "missing": (1.0, "missing is 1.0: expected a number from 0 to below 1"),
    "labelled": (13, "labelled is 13: expected 0 to num_train, 12"),
    "permuted": ("dept", "permuted is 'dept': expected True, False, or names of"),
    "tasks": (("edges",), "'edges'"),
}


@over(MISUSE)
def test_misuse_is_one_line(name):
    value, message = MISUSE[name]
    refused({name: value}, message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labelled": 2, "missing": 0.5}, "missing is 0.5: expected 0 where labelled"),
        ({"missing": 0.99}, "missing is 0.99, which leaves none of 12 training images"),
        (
            {"labelled": 1, "permuted": "depth"},
            "permuted is 'depth', and depth has a label for 1 training image: expected",
        ),
    ],
)
def test_options_that_do_not_go_together_are_one_line(options, message):
    refused(options, message)


def refused(options, message):
    with pytest.raises(UserError) as error:
        scenes(**{**COUNTS, **options})
    assert message in str(error.value)
    assert "\n" not in str(error.value)
