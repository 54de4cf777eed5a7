"""Rep-MTL: saliency penalties beside the losses, in every composition."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from mtopt.methods.famo import logit_slope
from tests.helpers import problems
from tests.helpers.methods import make
from tests.helpers.saliency import alignment, in_groups, regulation

KEY = jax.random.key(2)
LOG_EPSILON = 1e-8
TSR, CSA = 0.7, 1.3


def assert_trees_close(found, expected, **tolerance):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, **tolerance), found, expected
    )


def difference(tree, other):
    return jax.tree.map(jnp.subtract, tree, other)


# --- a small model, smooth, in float64 ------------------------------------------------


def encode(shared, x, key):
    del key
    return jnp.tanh(x @ shared["first"]) @ shared["second"]


def scores(head, z):
    """Class scores of representations [B, ..., C], curved in them."""
    places = jnp.tanh(z).reshape(len(z), -1, z.shape[-1])
    return places.mean(axis=1) @ head["w"] + head["b"][None]


def head_loss(head, z, y, mask, key):
    del key
    losses = optax.softmax_cross_entropy_with_integer_labels(scores(head, z), y)
    return mtopt.masked_mean(losses, mask)


def setting(kind, dtype=float):
    """Three tasks on five samples, and which labels they have; needs enable_x64."""
    rng = np.random.default_rng(3)
    x_axis, lead = (0 if kind == "disjoint" else None), ()
    if kind == "spatial":
        lead = (2, 2)
    own = () if x_axis is None else (3,)
    tasks = mtopt.Tasks(("a", "b", "c"), encode, head_loss, x_axis)
    shared = {"first": rng.normal(size=(4, 6)), "second": rng.normal(size=(6, 7))}
    heads = {"w": rng.normal(size=(3, 7, 3)), "b": rng.normal(size=(3, 3))}
    params = {"shared": shared, "tasks": mtopt.PerTask(heads, tasks.names)}
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), params)
    mask = np.ones((3, 5), bool)
    mask[[0, 1, 1, 2, 0, 2], [0, 0, 1, 2, 3, 3]] = False
    if kind == "absent":
        mask[1] = False
    x = jnp.asarray(rng.normal(size=(*own, 5, *lead, 4)), dtype)
    return tasks, params, mtopt.Batch(x, rng.integers(0, 3, size=(3, 5)), mask)


# The same, written out: one function of all parameters, task after task.


def losses_by_hand(tasks, batch, heads, z):
    losses = {}
    for k in np.flatnonzero(batch.mask.any(axis=1)):
        head = jax.tree.map(lambda leaf, k=k: leaf[k], heads)
        keep = np.flatnonzero(batch.mask[k])
        own = (z if tasks.x_axis is None else z[k])[keep]
        logs = jax.nn.log_softmax(scores(head, own))
        losses[k] = -logs[np.arange(len(keep)), batch.y[k][keep]].mean()
    return losses


def penalty_by_hand(tasks, batch, params, *, logs=False, anchor="tasks"):
    z = encode(params["shared"], batch.x, None)
    heads = params["tasks"].values

    def loss(z, k):
        found = losses_by_hand(tasks, batch, heads, z)[k]
        return jnp.log(found + LOG_EPSILON) if logs else found

    saliency = []
    for k in range(3):
        gradient = jnp.zeros_like(z)
        if batch.mask[k].any():
            gradient = jax.grad(loss)(z, k)
        saliency.append(gradient if tasks.x_axis is None else gradient[k])
    saliency = jnp.stack(saliency)
    apart = regulation(saliency, batch.mask)
    return TSR * apart + CSA * alignment(saliency, batch.mask, 0.4, anchor)


def base_by_hand(tasks, batch, params, *, logs=False, reduction="mean"):
    z = encode(params["shared"], batch.x, None)
    losses = losses_by_hand(tasks, batch, params["tasks"].values, z)
    values = jnp.stack(list(losses.values()))
    if logs:
        values = jnp.log(values + LOG_EPSILON)
    return values.mean() if reduction == "mean" else values.sum()


def saliency_penalties(aggregator, **options):
    return mtopt.rep_mtl(aggregator, tsr=TSR, csa=CSA, temperature=0.4, **options)


@functools.partial(jax.jit, static_argnames=("txs", "tasks"))
def _directions(txs, tasks, params, batch, task_weights):
    problem = tasks.problem(batch, KEY)
    losses, grads = problem.losses_and_grads(params)
    found = []
    for tx in txs:
        direction, state = tx.update(
            grads,
            tx.init(params),
            params,
            rows=grads["shared"],
            losses=losses,
            present=problem.present,
            task_weights=task_weights,
            pullback=functools.partial(problem.pullback, params),
            problem=problem,
            key=KEY,
            after=lambda updates: jax.tree.map(lambda u: -0.01 * u, updates),
        )
        found.append((direction, optax.tree.get(state, "weights")))
    return found


def directions(txs, tasks, params, batch, task_weights=None):
    """The first update of every aggregator, with all that a step would hand it."""
    found = _directions(tuple(txs), tasks, params, batch, task_weights)
    return [direction for direction, _ in found]


# --- the direction is the gradient of the whole loss ----------------------------------


def equal(**options):
    return mtopt.equal_weighting(3, **options)


WRITTEN_OUT = {
    "mean": (saliency_penalties(equal()), {}, {}),
    "sum, mean anchor": (
        saliency_penalties(equal(reduction="sum"), anchor="mean"),
        {"reduction": "sum"},
        {"anchor": "mean"},
    ),
    "logs of all": (
        mtopt.log_losses(saliency_penalties(equal())),
        {"logs": True},
        {"logs": True},
    ),
    "logs of the sum alone": (
        saliency_penalties(mtopt.log_losses(equal())),
        {"logs": True},
        {},
    ),
    "logs of the saliency alone": (
        saliency_penalties(equal(), saliency="log_losses"),
        {},
        {"logs": True},
    ),
    "logs, and of the saliency": (
        saliency_penalties(mtopt.log_losses(equal()), saliency="log_losses"),
        {"logs": True},
        {"logs": True},
    ),
}


@pytest.mark.parametrize(
    ("kind", "ways"),
    [
        ("shared", list(WRITTEN_OUT)),
        ("disjoint", ["mean", "logs of all"]),
        ("spatial", ["sum, mean anchor"]),
        ("absent", ["mean", "logs of all"]),
    ],
)
def test_the_direction_is_the_gradient_of_the_total_loss(kind, ways):
    """Differentiated end to end, for shared parameters and heads."""
    with jax.enable_x64(True):
        tasks, params, batch = setting(kind)
        txs = [WRITTEN_OUT[way][0] for way in ways]
        found = directions(txs, tasks, params, batch)

        def total(params, of_base, of_penalty):
            base = base_by_hand(tasks, batch, params, **of_base)
            return base + penalty_by_hand(tasks, batch, params, **of_penalty)

        @jax.jit
        def gradients(params):
            return [jax.grad(total)(params, *WRITTEN_OUT[way][1:]) for way in ways]

        expected = gradients(params)
        for way, own, other in zip(ways, found, expected, strict=True):
            assert_trees_close(own, other, rtol=1e-8, atol=1e-12, err_msg=way)


AGGREGATORS = {
    "rows": mtopt.mgda(3),
    "representation": mtopt.mgda(3, space="representation", heads="plain"),
    "part of the batch": mtopt.modo(3),
    "masked representation": mtopt.graddrop(3, space="representation"),
    "looks ahead": mtopt.famo(3),
    "averaged rows": make("db_mtl", 3),
    "held": mtopt.weights_every(mtopt.mgda(3), n=2),
    "smoothed": mtopt.smoothed_weights(mtopt.mgda(3)),
    "logs": mtopt.log_losses(mtopt.mgda(3)),
    "flat": mtopt.flat_regions(mtopt.mgda(3), rho=0.3),
    "flat at once": mtopt.flat_regions(mtopt.mgda(3), rho=0.3, variant="direct"),
    "flat of both": mtopt.flat_regions(
        mtopt.mgda(3), rho=0.3, variant="second_aggregate"
    ),
    "flat of each": mtopt.flat_regions(
        mtopt.mgda(3), rho=0.3, variant="each_aggregate"
    ),
}
FLAT = {
    "flat": "split",
    "flat at once": "direct",
    "flat of both": "second_aggregate",
    "flat of each": "each_aggregate",
}


@pytest.fixture(scope="module")
def penalised():
    """Of every aggregator three updates: alone, with the penalties, and detached.

    With the gradient of the penalties, and what flat_regions around them does. It is
    one program, in which XLA compiles what all have in common once.
    """
    with jax.enable_x64(True):
        tasks, params, batch = setting("shared")
        txs = [
            tx
            for aggregator in AGGREGATORS.values()
            for tx in (
                aggregator,
                saliency_penalties(aggregator),
                saliency_penalties(aggregator, detach=True),
            )
        ]
        txs += [
            mtopt.flat_regions(saliency_penalties(mtopt.mgda(3)), rho=0.3, variant=name)
            for name in FLAT.values()
        ]
        found = _directions(tuple(txs), tasks, params, batch, None)
        found, inside = found[: -len(FLAT)], found[-len(FLAT) :]
        expected = jax.jit(
            jax.grad(lambda params: penalty_by_hand(tasks, batch, params))
        )(params)
    triples = [found[i : i + 3] for i in range(0, len(found), 3)]
    triples = dict(zip(AGGREGATORS, triples, strict=True))
    return expected, triples, dict(zip(FLAT, inside, strict=True))


@pytest.mark.parametrize("name", AGGREGATORS)
def test_any_aggregator_gets_the_same_gradient_of_the_penalty(name, penalised):
    """Beside its own direction and weights; nothing where there is none."""
    expected, triples, _ = penalised
    (base, weights), (found, same), (detached, _) = triples[name]
    with jax.enable_x64(True):
        assert_trees_close(difference(found, base), expected, rtol=1e-8, atol=1e-10)
    assert_trees_close(detached, base, rtol=1e-11, atol=1e-12)
    np.testing.assert_array_equal(weights, same)


@pytest.mark.parametrize("name", FLAT)
def test_flat_regions_and_penalties_commute(name, penalised):
    """The flat part of the direction takes no penalty, and the loss part takes one."""
    _, triples, inside = penalised
    assert_trees_close(inside[name][0], triples[name][1][0], rtol=1e-12, atol=1e-13)


def test_without_coefficients_it_is_the_aggregator():
    aggregator = mtopt.mgda(3)
    assert mtopt.rep_mtl(aggregator, tsr=0, csa=0) is aggregator
    assert mtopt.add_penalty(aggregator, lambda *_: jnp.ones(()), 0) is aggregator


def test_task_weights_are_for_losses_alone(penalised):
    expected, triples, _ = penalised
    with jax.enable_x64(True):
        tasks, params, batch = setting("shared")
        inner = (equal(), mtopt.mgda(3))
        txs = [*inner, *(saliency_penalties(aggregator) for aggregator in inner)]
        found = directions(txs, tasks, params, batch, jnp.array([1.0, 5.0, 0.0]))
        for base, own in zip(found[:2], found[2:], strict=True):
            assert_trees_close(difference(own, base), expected, rtol=1e-8, atol=1e-10)
        unweighted = triples["rows"][0][0]["shared"]
        assert not np.allclose(found[1]["shared"]["first"], unweighted["first"])


def test_every_option_has_its_own_term():
    """TSR and CSA alone add up to both; the second anchor is another penalty."""
    with jax.enable_x64(True):
        tasks, params, batch = setting("shared")
        base, tsr, csa, both, mean = directions(
            [
                equal(),
                mtopt.rep_mtl(equal(), tsr=0.7, csa=0),
                mtopt.rep_mtl(equal(), tsr=0, csa=1.3),
                mtopt.rep_mtl(equal(), tsr=0.7, csa=1.3),
                mtopt.rep_mtl(equal(), tsr=0.7, csa=1.3, anchor="mean"),
            ],
            tasks,
            params,
            batch,
        )
        alone = jax.tree.map(jnp.add, difference(tsr, base), difference(csa, base))
        assert_trees_close(difference(both, base), alone, rtol=1e-9, atol=1e-12)
        assert not np.allclose(both["shared"]["first"], mean["shared"]["first"])


# --- the fixture in one number --------------------------------------------------------


def one_number():
    """z = 2, heads 1 and 1, targets 0 and 1.5: saliencies 2 and 0.5."""

    def head_loss(head, z, y, mask, key):
        del key
        return mtopt.masked_mean((head * z[:, 0] - y) ** 2 / 2, mask)

    tasks = mtopt.Tasks(
        ("a", "b"), lambda shared, x, key: shared.reshape(1, 1), head_loss
    )
    params = {
        "shared": jnp.array([2.0]),
        "tasks": mtopt.PerTask(jnp.ones(2), tasks.names),
    }
    labels = np.array([[0.0], [1.5]])
    return tasks, params, mtopt.Batch(np.zeros((1, 1)), labels, np.ones((2, 1), bool))


def test_the_second_derivative_of_one_number():
    """By the chain rule -(log P_k + H) / A dS_k, with S_k = w_k (w_k z - y_k)."""
    with jax.enable_x64(True):
        tasks, params, batch = one_number()

        def regulated(problem, params, representation):
            found = mtopt.task_saliency(problem, params, representation)
            np.testing.assert_array_equal(found.shape, (2, 1, 1))
            return mtopt.task_saliency_regulation(found)

        base = mtopt.equal_weighting(2)
        own, tsr, added, detached = directions(
            [
                base,
                mtopt.rep_mtl(base, tsr=1, csa=0),
                mtopt.add_penalty(base, regulated, 1),
                mtopt.rep_mtl(base, tsr=1, csa=0, detach=True),
            ],
            tasks,
            params,
            batch,
        )
        entropy = -0.8 * np.log(0.8) - 0.2 * np.log(0.2)
        slopes = -(np.log([0.8, 0.2]) + entropy) / 2.5
        for penalised in (tsr, added):
            found = difference(penalised, own)
            np.testing.assert_allclose(found["shared"], 0.3327106, atol=5e-8)
            np.testing.assert_allclose(found["shared"], slopes.sum(), rtol=1e-13)
            of_heads = slopes * np.array([4.0, 2.5])
            np.testing.assert_allclose(found["tasks"].values, of_heads, rtol=1e-13)
        assert_trees_close(detached, own, rtol=1e-15)

        problem = tasks.problem(batch, KEY)
        saliency = jax.jit(mtopt.task_saliency)(problem, params)
        np.testing.assert_array_equal(saliency.reshape(-1), [2.0, 0.5])
        value = jax.jit(regulated)(problem, params, jnp.array([[2.0]]))
        np.testing.assert_allclose(value, 0.5004024, atol=5e-8)


# --- penalties in penalties, in chains and in steps -----------------------------------


def activity(problem, params, representation):
    del problem, params
    return jnp.mean(representation**2)


def decay(problem, params, representation):
    del problem
    return jnp.sum(params["tasks"].values["w"] ** 2) * jnp.mean(representation)


@pytest.mark.parametrize("name", ["pulled back", "rows", "with logs in between"])
def test_penalties_in_penalties_add_up(name):
    aggregator = mtopt.mgda(3) if name == "rows" else equal()
    inside = mtopt.add_penalty(aggregator, activity, 2)
    if name == "with logs in between":
        aggregator, inside = mtopt.log_losses(aggregator), mtopt.log_losses(inside)
    with jax.enable_x64(True):
        tasks, params, batch = setting("shared")
        txs = (aggregator, mtopt.add_penalty(inside, decay, 0.5))
        base, found = directions(txs, tasks, params, batch)

        def penalties(params):
            z = encode(params["shared"], batch.x, None)
            return 2 * activity(None, params, z) + 0.5 * decay(None, params, z)

        expected = jax.jit(jax.grad(penalties))(params)
        assert_trees_close(difference(found, base), expected, rtol=1e-9, atol=1e-12)


def train(tx, tasks, params, batch, count=1):
    state = mtopt.TrainState.create(params, tx, KEY)
    step = mtopt.make_train_step(tasks, tx)
    for _ in range(count):
        state, metrics = step(state, batch)
    assert step._cache_size() == 1
    return state, metrics


def test_famo_is_told_of_the_whole_step_with_its_penalty():
    with jax.enable_x64(True):
        tasks, params, batch = setting("shared")
        tx = mtopt.chain(saliency_penalties(mtopt.famo(3, gamma=0)), optax.sgd(0.5))
        state, metrics = train(tx, tasks, params, batch)
        losses = jax.jit(lambda params: tasks.problem(batch, KEY).losses(params))
        fell = jnp.log(metrics["losses"]) - jnp.log(losses(state.params))
        slope = logit_slope(jnp.zeros(3), fell, jnp.ones(3, bool))
        moment = optax.tree.get(state.opt_state, "mu")  # of Adam: 0.1 of the slope
        np.testing.assert_allclose(moment, 0.1 * slope, rtol=1e-6)


def test_groups_of_tasks_are_penalised_as_one():
    with jax.enable_x64(True):
        tasks, params, batch = setting("spatial")
        groups, own, pieces = in_groups(tasks, params, batch)
        tx = saliency_penalties(mtopt.mgda(3))
        (whole,) = directions([tx], tasks, params, batch)
        (found,) = directions([tx], groups, own, pieces)
        assert_trees_close(found["shared"], whole["shared"], rtol=1e-9, atol=1e-12)
        by_name = {k: v for part in found["tasks"] for k, v in part.by_name().items()}
        for name, head in whole["tasks"].by_name().items():
            assert_trees_close(by_name[name], head, rtol=1e-9, atol=1e-12)


def test_bfloat16_parameters_stay_bfloat16():
    tasks, params, batch = setting("shared", jnp.bfloat16)
    tx = optax.chain(mtopt.log_losses(mtopt.rep_mtl(equal())), optax.adam(1e-2))
    state, metrics = train(tx, tasks, params, batch, count=3)
    for leaf in jax.tree.leaves(state.params):
        assert leaf.dtype == jnp.bfloat16
        assert np.isfinite(np.asarray(leaf, np.float32)).all()
    assert np.isfinite(np.asarray(metrics["losses"], np.float32)).all()


def test_seeds_under_vmap_are_seeds_alone():
    tasks, params, batch = setting("shared", jnp.float32)
    tx = optax.chain(saliency_penalties(equal()), optax.sgd(0.1))
    step = mtopt.make_train_step(tasks, tx)

    def start(scale):
        moved = jax.tree.map(lambda leaf: leaf * jnp.float32(scale), params)
        return mtopt.TrainState.create(moved, tx, KEY)

    scales = (1.0, 0.5)
    stack = jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(start, scales))
    many = jax.jit(jax.vmap(step, in_axes=(0, None)))
    for _ in range(2):
        stack, _ = many(stack, batch)
    assert many._cache_size() == 1
    for k, scale in enumerate(scales):
        alone = start(scale)
        for _ in range(2):
            alone, _ = step(alone, batch)
        one = jax.tree.map(lambda leaf, k=k: leaf[k], stack.params)
        assert_trees_close(one, alone.params, rtol=1e-4, atol=1e-5)


# --- what it costs --------------------------------------------------------------------

METHODS = {
    "equal": mtopt.equal_weighting(4),
    "tsr": mtopt.rep_mtl(mtopt.equal_weighting(4), csa=0),
    "csa": mtopt.rep_mtl(mtopt.equal_weighting(4), tsr=0),
    "both": mtopt.rep_mtl(mtopt.equal_weighting(4)),
    "both, of logs": mtopt.log_losses(mtopt.rep_mtl(mtopt.equal_weighting(4))),
    "both, beside logs": mtopt.rep_mtl(mtopt.log_losses(mtopt.equal_weighting(4))),
}

DEEPER, WIDER = (256, 256, 256), (512,)  # than (256,)


@functools.cache
def step_flops(name, hidden):
    tasks, params, batch = problems.classification(4, 64, 256, (*hidden, 16), 5, None)
    tx = optax.chain(METHODS[name], optax.sgd(0.1))
    state = mtopt.TrainState.create(params, tx, KEY)
    step = mtopt.make_train_step(tasks, tx)
    return step.lower(state, batch).compile().cost_analysis()["flops"]


@pytest.mark.parametrize(
    ("name", "larger"),
    [(name, DEEPER) for name in METHODS if name != "equal"] + [("both", WIDER)],
)
def test_the_encoder_costs_what_it_costs_under_equal_weighting(name, larger):
    """A larger encoder raises both costs alike: one forward and one backward pass."""
    more = step_flops("equal", larger) - step_flops("equal", (256,))
    found = step_flops(name, larger) - step_flops(name, (256,))
    assert more > 0.4 * step_flops("equal", larger)
    np.testing.assert_allclose(found, more, rtol=0.01)


# --- errors ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tsr": -1}, "tsr is -1"),
        ({"csa": -0.1}, "csa is -0.1"),
        ({"temperature": 0}, "temperature is 0"),
        ({"anchor": "sample"}, "anchor is 'sample'"),
        ({"saliency": "logs"}, "saliency is 'logs'"),
    ],
)
def test_options_out_of_range_are_named(options, message):
    with pytest.raises(mtopt.UserError, match=message):
        mtopt.rep_mtl(equal(), **options)


def test_a_negative_coefficient_is_an_error():
    with pytest.raises(mtopt.UserError, match="coefficient is -2"):
        mtopt.add_penalty(equal(), activity, -2)


def test_a_penalty_needs_the_problem_and_parameters():
    tasks, params, batch = setting("shared", jnp.float32)
    tx = mtopt.rep_mtl(equal())
    with pytest.raises(TypeError, match="missing 'params' or 'problem'"):
        tx.update({}, tx.init(params), params)
    with pytest.raises(TypeError, match="missing 'params' or 'problem'"):
        tx.update({}, tx.init(params), problem=tasks.problem(batch, KEY))


def test_a_batch_of_one_has_nothing_to_align():
    tasks, params, batch = one_number()
    with pytest.raises(mtopt.UserError, match="a batch of two at least"):
        directions([mtopt.rep_mtl(mtopt.equal_weighting(2))], tasks, params, batch)


def test_groups_without_a_common_representation_are_an_error():
    tasks, params, batch = setting("shared", jnp.float32)
    groups, own, pieces = in_groups(tasks, params, batch)
    apart = mtopt.TaskGroups(groups.groups, shared_inputs=False)
    doubled = mtopt.Batch((pieces.x, pieces.x), pieces.y, pieces.mask)
    with pytest.raises(mtopt.UserError, match="no representation in common"):
        directions([mtopt.rep_mtl(equal())], apart, own, doubled)
