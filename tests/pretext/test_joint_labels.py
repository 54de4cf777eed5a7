"""Joint labels and their controls: losses, predictions, what each can learn."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from scipy.special import log_softmax

import mtopt
from mtopt.models import functional
from mtopt.models.heads import linear_head
from mtopt.pretext import joint_labels, rotations
from mtopt.pretext.joint_labels import FORMS, aggregate
from tests.helpers.close import assert_close
from tests.helpers.models import Normed

NAMES = ("left", "right")
SIZE, CLASSES, TURNS, WIDTH = 6, 3, 4, 16
FORM = pytest.mark.parametrize("form", FORMS)


class Encoder(nnx.Module):
    """One hidden layer on flattened images of 3 x 3 pixels."""

    def __init__(self, rngs):
        self.linear = nnx.Linear(9, WIDTH, rngs=rngs)

    def __call__(self, x):
        return jax.nn.relu(self.linear(x.reshape(len(x), -1)))


HEAD = functools.partial(linear_head, WIDTH, kind="classification")


@functools.cache
def make(form, turns=TURNS, *, outputs=CLASSES, names=NAMES, **options):
    transformations = rotations(turns) if turns > 1 else (lambda x: x,)
    return joint_labels(
        Encoder,
        HEAD,
        names,
        outputs=outputs,
        transformations=transformations,
        form=form,
        **options,
    )


def make_batch():
    """Images of two tasks with classes, one label of each missing."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(SIZE, 3, 3, 1)).astype(np.float32)
    y = rng.integers(CLASSES, size=(2, SIZE)).astype(np.int32)
    mask = np.ones((2, SIZE), bool)
    mask[0, 1] = mask[1, 4] = False
    return mtopt.Batch(x, y, mask, NAMES)


def start(model):
    params, state = jax.jit(model.init)(jax.random.key(0))
    assert state == {}
    return params


def run(model, params, batch):
    """The losses of the tasks, and what the model predicts."""

    @jax.jit
    def both(params):
        problem = model.tasks.problem(batch, jax.random.key(1))
        return problem.losses(params), model.predict(params, {}, batch.x)

    return both(params)


def reference(form, params, k, x, y, temperature):
    """Loss and logits of one image of one task, copy after copy."""
    encoder = jax.tree.map(lambda leaf: np.asarray(leaf, float), params["shared"])
    heads = jax.tree.map(lambda a: np.asarray(a[k], float), params["tasks"].values)
    encoder, heads = encoder["encoder"]["linear"], heads["heads"]
    z = {name: [] for name in heads}
    for turn in range(TURNS):
        h = np.rot90(x, turn).ravel() @ encoder["kernel"] + encoder["bias"]
        for name, head in heads.items():
            z[name].append(np.maximum(h, 0) @ head["kernel"] + head["bias"])

    def entropy(logits, label):
        return -log_softmax(logits)[label]

    turns = range(TURNS)
    if form in ("augmentation", "two_tasks"):
        loss = np.mean([entropy(z["class"][j], y) for j in turns])
        if form == "two_tasks":
            loss += np.mean([entropy(z["transformation"][j], j) for j in turns])
        return loss, z["class"][0]
    loss = np.mean([entropy(z["joint"][j], y * TURNS + j) for j in turns])
    mean = [
        np.mean([z["joint"][j][c * TURNS + j] for j in turns]) for c in range(CLASSES)
    ]
    if form == "aggregated":
        return loss, mean
    if form == "single":
        return loss, z["joint"][0][::TURNS]
    teacher = log_softmax(np.array(mean) / temperature)
    student = log_softmax(z["single"][0] / temperature)
    divergence = (np.exp(teacher) * (teacher - student)).sum()
    loss += entropy(z["single"][0], y) + temperature**2 * divergence
    return loss, z["single"][0]


@FORM
def test_losses_and_logits_are_those_of_a_loop_over_copies(form):
    model, batch = make(form, temperature=2.5), make_batch()
    params = start(model)
    pairs = [
        [
            reference(form, params, k, x, y, 2.5)
            for x, y in zip(batch.x, own, strict=True)
        ]
        for k, own in enumerate(batch.y)
    ]
    expected = [
        np.mean([loss for (loss, _), real in zip(task, mask, strict=True) if real])
        for task, mask in zip(pairs, batch.mask, strict=True)
    ]
    losses, logits = run(model, params, batch)
    assert_close(losses, np.array(expected), rtol=1e-5)
    assert logits.dtype == jnp.float32
    wanted = np.array([[logits for _, logits in task] for task in pairs])
    assert_close(logits, wanted, rtol=1e-5)


def test_labels_may_be_bytes():
    model, batch = make("aggregated", outputs=100), make_batch()
    params, losses = start(model), []
    for kind in ("uint8", "int32"):
        y = (batch.y + 90).astype(kind)
        losses.append(run(model, params, mtopt.Batch(batch.x, y, batch.mask, NAMES))[0])
    np.testing.assert_array_equal(*losses)


@functools.cache
def plain():
    """The ordinary model, its start, and what it makes of the batch."""
    model = functional(Encoder, HEAD(CLASSES), NAMES, kind="classification")
    params = start(model)
    return params, run(model, params, make_batch())


@pytest.mark.parametrize("form", ["aggregated", "single", "two_tasks", "augmentation"])
def test_one_transformation_is_ordinary_classification(form):
    (base, expected), model = plain(), make(form, 1)
    params = start(model)
    assert_close(params["shared"]["encoder"], base["shared"], rtol=0)
    head, *_ = params["tasks"].values["heads"].values()
    assert_close(head, base["tasks"].values, rtol=0)
    assert_close(run(model, params, make_batch()), expected, rtol=1e-6)


def test_the_aggregate_is_the_mean_of_the_diagonal():
    z = np.random.default_rng(0).normal(size=(5, TURNS, CLASSES * TURNS))
    view = z.reshape(5, TURNS, CLASSES, TURNS)
    expected = sum(view[:, j, :, j] for j in range(TURNS)) / TURNS
    z = jnp.asarray(z, jnp.float32)
    assert_close(aggregate(z, CLASSES), expected, rtol=1e-6)
    assert_close(aggregate(z[:, :1], CLASSES), view[:, 0, :, 0], rtol=1e-6)


def test_another_order_of_transformations_is_another_order_of_columns():
    model, batch = make("aggregated"), make_batch()
    order = np.array([2, 0, 3, 1])
    other = joint_labels(
        Encoder,
        HEAD,
        NAMES,
        outputs=CLASSES,
        transformations=[rotations()[j] for j in order],
    )
    columns = (np.arange(CLASSES)[:, None] * TURNS + order[None]).ravel()
    params = start(model)
    heads = jax.tree.map(lambda leaf: leaf[..., columns], params["tasks"])
    permuted = {"shared": params["shared"], "tasks": heads}
    before = run(model, params, batch)
    assert_close(run(other, permuted, batch), before, rtol=1e-6)
    wrong, _ = run(other, params, batch)
    assert abs(wrong - before[0]).max() > 1e-3


def gradients(form, temperature):
    """Those of the sum of the losses, at the same parameters for every temperature."""
    model, batch = make(form, temperature=temperature), make_batch()

    @jax.jit
    def run(params):
        problem = model.tasks.problem(batch, jax.random.key(1))
        return jax.grad(lambda p: problem.losses(p).sum())(params)

    found = run(start(model))
    return jax.device_get((found["shared"], found["tasks"].values["heads"]))


def test_nothing_of_the_divergence_reaches_the_joint_head():
    (_, heads), (_, others) = gradients("distilled", 1.0), gradients("distilled", 4.0)
    assert abs(heads["joint"]["kernel"]).max() > 0.01
    jax.tree.map(np.testing.assert_array_equal, heads["joint"], others["joint"])
    assert abs(heads["single"]["kernel"] - others["single"]["kernel"]).max() > 1e-3


def arrows(seed):
    """Images of one figure, turned by as many quarters as its class says, and noise."""
    rng = np.random.default_rng(seed)
    figure = np.array([[0, 1, 0], [0, 1, 0], [1, 1, 1]], np.float32)
    y = np.arange(96) % TURNS
    x = np.stack([np.rot90(figure, turn) for turn in y])[..., None]
    x = x + 0.1 * rng.normal(size=x.shape)
    return mtopt.Batch.shared(x.astype(np.float32), {"arrow": y.astype(np.int32)})


@FORM
def test_only_a_joint_label_learns_a_class_that_turning_changes(form):
    """For the controls all four classes stand on every copy alike."""
    model = make(form, outputs=TURNS, names=("arrow",))
    batch, others = arrows(0), arrows(1)

    def loss(params):
        return model.tasks.problem(batch, jax.random.key(1)).losses(params).sum()

    @jax.jit
    def trained(params):
        def step(params, _):
            return optax.apply_updates(params, slope(params)), None

        def slope(params):
            return jax.tree.map(lambda g: -g, jax.grad(loss)(params))

        params, _ = jax.lax.scan(step, params, length=100)
        return model.predict(params, {}, others.x)[0]

    right = (trained(start(model)).argmax(axis=1) == others.y[0]).mean()
    if form in ("augmentation", "two_tasks"):
        assert right == pytest.approx(1 / TURNS, abs=0.15)
    else:
        assert right == 1


def test_all_copies_of_labelled_samples_count_for_the_statistics():
    class Lines(Normed):
        def __call__(self, x):
            return super().__call__(x[:, 0, :, 0])

    model = joint_labels(
        lambda rngs: Lines(rngs=rngs),
        functools.partial(linear_head, 4, kind="classification"),
        NAMES,
        outputs=CLASSES,
        transformations=rotations(),
    )
    batch = make_batch()
    mask = batch.mask.copy()
    mask[:, ::2] = False
    batch = mtopt.Batch(batch.x, batch.y, mask, NAMES)
    params, state = jax.jit(model.init)(jax.random.key(0))
    tx = mtopt.chain(mtopt.equal_weighting(2), optax.sgd(0.1))
    linear = jax.device_get(params["shared"]["encoder"]["linear"])
    seen = batch.x[mask.any(axis=0), ..., 0]
    lines = np.concatenate([np.rot90(seen, j, (1, 2))[:, 0] for j in range(TURNS)])
    outputs = lines.astype(float) @ linear["kernel"] + linear["bias"]
    state = mtopt.TrainState.create(params, tx, jax.random.key(1), state)
    state, _ = mtopt.make_train_step(model.tasks, tx)(state, batch)
    moments = {"mean": 0.1 * outputs.mean(0), "var": 0.9 + 0.1 * outputs.var(0)}
    assert_close(state.model_state["encoder"]["norm"], moments, rtol=1e-5)


def test_inputs_of_the_tasks_own():
    shared, own, batch = make("aggregated"), make("aggregated", x_axis=0), make_batch()
    params = start(shared)
    apart = mtopt.Batch(np.stack([batch.x, batch.x[::-1]]), batch.y, batch.mask, NAMES)
    turned = mtopt.Batch(batch.x[::-1], batch.y, batch.mask, NAMES)
    first, second = (run(shared, params, one) for one in (batch, turned))
    expected = [
        np.stack([one[0], two[1]]) for one, two in zip(first, second, strict=True)
    ]
    assert_close(list(run(own, params, apart)), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"form": "joint"}, "form is 'joint': expected one of"),
        ({"outputs": 1}, "outputs is 1: expected 2 classes or more"),
        ({"temperature": 0}, "temperature is 0: expected a number above 0"),
        ({"transformations": ()}, r"transformations is \(\): expected 1 or more"),
    ],
)
def test_options_out_of_range(changes, message):
    options = {"outputs": CLASSES, "transformations": rotations()}
    with pytest.raises(mtopt.UserError, match=message):
        joint_labels(Encoder, HEAD, NAMES, **(options | changes))


def test_what_does_not_fit_is_found_before_anything_is_computed():
    with pytest.raises(mtopt.UserError, match="count is 3: expected 2 or 4 turns"):
        rotations(3)
    shapes = jax.eval_shape(make("single").init, jax.random.key(0))
    oblong = jnp.zeros((2, 3, 4, 1))
    whole = make("aggregated")
    with pytest.raises(mtopt.UserError, match="quarter turns are of square images"):
        jax.eval_shape(whole.predict, *shapes, oblong)
    fixed = joint_labels(
        Encoder,
        lambda outputs: HEAD(5),
        NAMES,
        outputs=CLASSES,
        transformations=rotations(),
    )
    shapes = jax.eval_shape(fixed.init, jax.random.key(0))
    with pytest.raises(mtopt.UserError, match=r"head\(12\) has 5 outputs"):
        jax.eval_shape(fixed.predict, *shapes, jnp.zeros((2, 3, 3, 1)))
    batch = make_batch()
    wrong = mtopt.Batch(batch.x, batch.y + 0.5, batch.mask, NAMES)
    with pytest.raises(mtopt.UserError, match="labels of a classification task are"):
        run(whole, start(whole), wrong)
