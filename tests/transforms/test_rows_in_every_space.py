"""What changes the rows changes the representation's rows, or is refused by name."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from mtopt.registry import about
from mtopt.wrappers.log_losses import LogProblem
from tests.helpers import problems
from tests.helpers.close import assert_close
from tests.helpers.forms import forms, in_a_step, method_in, update
from tests.helpers.updates import KEY, update_on

K, B, D, C, RHO = 3, 7, 4, 5, 0.6
NAMES = ("a", "b", "c")
SPACED = sorted(
    name
    for name, method in mtopt.METHODS.items()
    if "space" in inspect.signature(method).parameters
)


def problem():
    rng = np.random.default_rng(4)
    tasks = mtopt.Tasks(NAMES, problems.tanh_encode, problems.squared_loss)
    mask = rng.random((K, B)) < 0.8
    x, y = rng.normal(size=(B, D)), 2 * rng.normal(size=(K, B))
    batch = mtopt.Batch(jnp.asarray(x), jnp.asarray(y), jnp.asarray(mask))
    heads = mtopt.PerTask(jnp.asarray(rng.normal(size=(K, C))), NAMES)
    params = {"shared": jnp.asarray(rng.normal(size=(D, C))), "tasks": heads}
    return tasks.problem(batch, KEY), params


def by_hand(batch, shared, heads):
    """Every task's gradients, by shared and own parameters and Z, and its loss."""

    def of_task(shared, head, y, mask):
        def loss(z, head):
            return problems.squared_loss(head, z, y, mask, None)

        def whole(shared, head):
            return loss(problems.tanh_encode(shared, batch.x, None), head)

        z = problems.tanh_encode(shared, batch.x, None)
        rows = jax.grad(whole, (0, 1))(shared, head)
        return *rows, jax.grad(loss)(z, head), loss(z, head)

    return jax.vmap(of_task)(shared, heads, batch.y, batch.mask)


def times(scale, array):
    return scale.reshape(-1, *(1,) * (array.ndim - 1)) * array


def norms(*arrays):
    squares = [jnp.sum(a.reshape(len(a), -1) ** 2, axis=1) for a in arrays]
    return jnp.sqrt(sum(squares))


def expected(seen, params):
    """The Gramians behind every transformation, from the equations."""
    batch, heads = seen.problem.batch, params["tasks"].values
    shared = jnp.stack([params["shared"]] * K)
    row, own, of_z, _ = by_hand(batch, shared, heads)
    far = RHO / norms(row, own)
    there, _, there_z, loss = by_hand(
        batch, shared + times(far, row), heads + times(far, own)
    )
    mean, far = (
        row.mean(axis=0),
        RHO
        / jnp.linalg.norm(jnp.concatenate([row.mean(axis=0).ravel(), own.ravel() / K])),
    )
    _, _, common, _ = by_hand(batch, shared + far * mean[None], heads + far * own / K)
    unit = 1 / norms(row)
    rows = {
        "normalize_rows": times(unit, of_z),
        "in a chain of its own": times(unit, of_z),
        "per_task_sam": there_z,
        "sam": common,
        "normalize_rows, per_task_sam": times(unit, there_z),
        "per_task_sam, normalize_rows": times(1 / norms(there), there_z),
        "task_momentum, per_task_sam": there_z,
        "per_task_sam, logarithms": times(1 / loss, there_z),
        "per_task_sam, logarithms, rows": times(1 / loss, there),
        "flat part": there_z - of_z,
    }
    return {name: mtopt.gramian(own) for name, own in rows.items()}


TRANSFORMED = {
    "normalize_rows": mtopt.chain(mtopt.normalize_rows(K)),
    "in a chain of its own": mtopt.chain(mtopt.chain(mtopt.normalize_rows(K))),
    "per_task_sam": mtopt.chain(mtopt.per_task_sam(K, rho=RHO)),
    "sam": mtopt.chain(mtopt.sam(K, rho=RHO)),
    "normalize_rows, per_task_sam": mtopt.chain(
        mtopt.normalize_rows(K), mtopt.per_task_sam(K, rho=RHO)
    ),
    "per_task_sam, normalize_rows": mtopt.chain(
        mtopt.per_task_sam(K, rho=RHO), mtopt.normalize_rows(K)
    ),
    "task_momentum, per_task_sam": mtopt.chain(
        mtopt.task_momentum(K), mtopt.per_task_sam(K, rho=RHO)
    ),
}


LOGS = ("per_task_sam, logarithms", "per_task_sam, logarithms, rows")


@functools.cache
def gramians():
    """Found and expected, in one program."""
    with jax.enable_x64(True):
        own, params = problem()
        flat = mtopt.flat_regions(method_in("imtl_g", "representation"), rho=RHO)

        @jax.jit
        def answers(params):
            seen = own.evaluate(params)
            found, behind_sam = {}, seen
            for name, tx in TRANSFORMED.items():
                _, _, after = tx.see(
                    seen.gradients, tx.init(params), params, evaluation=seen
                )
                found[name] = after.representation_gramian()
                behind_sam = after if name == "per_task_sam" else behind_sam
            logs = LogProblem(None, 0.0).view(behind_sam)
            found["per_task_sam, logarithms"] = logs.representation_gramian()
            found["per_task_sam, logarithms, rows"] = logs.gramian()
            _, state = update_on(flat, flat.init(params), own, params)
            wanted = expected(seen, params)
            solve = mtopt.imtl_g(K)  # rows with the Gramian that the flat part has
            rows = jnp.linalg.cholesky(wanted.pop("flat part"))
            _, alone = solve.update(rows, solve.init(rows[0]))
            found["flat part"] = state.memory.flat_weights
            wanted["flat part"] = alone.weights
            return found, wanted

        return jax.tree.map(np.asarray, answers(params))


@pytest.mark.parametrize("name", [*TRANSFORMED, "flat part", *LOGS])
def test_the_gramian_in_the_representation_is_that_of_what_the_rows_became(name):
    found, wanted = gramians()
    assert_close(found[name], wanted[name], rtol=1e-9)


def test_an_update_that_is_compiled_alone_is_told_what_the_step_is_told():
    """Updates and evaluation come through ``jit`` as arrays that nothing links."""
    own, params = problem()
    inner = mtopt.chain(mtopt.normalize_rows(K), method_in("imtl_g", "representation"))
    bare = method_in("imtl_g", "representation")
    refused = mtopt.chain(optax.clip(1.0), bare)

    def run(tx, update, seen):
        state = tx.init(params)
        return update(seen.gradients, state, params, evaluation=seen)[0]["shared"]

    seen = jax.jit(own.evaluate)(params)
    for tx in (inner, bare):
        together = jax.jit(lambda seen, tx=tx: run(tx, tx.update, seen))(seen)
        assert_close(run(tx, jax.jit(tx.update), seen), together, rtol=1e-5)
    with pytest.raises(mtopt.UserError, match="not of mtopt"):
        jax.eval_shape(lambda seen: run(refused, refused.update, seen), seen)


def in_optax_chain(name):
    """Unit and clipped rows before a method in the representation."""
    bare = method_in(name, "representation")
    return (
        optax.chain(mtopt.normalize_rows(K), bare),
        optax.chain(optax.clip(0.1), bare),
        optax.chain(optax.clip(0.1), mtopt.chain(bare)),
    )


MARKED = [
    pytest.param(name, marks=() if name in ("mgda", "graddrop") else pytest.mark.slow)
    for name in SPACED
]


@functools.cache
def evaluated():
    own, params = problem()
    return jax.jit(own.evaluate)(params), params


def compiled_alone(chains):
    """The directions of chains that get updates and evaluation from outside."""
    seen, params = evaluated()

    @jax.jit
    def directions(gradients, seen):
        return [
            tx.update(gradients, tx.init(params), params, evaluation=seen)[0]["shared"]
            for tx in chains
        ]

    return directions(seen.gradients, seen)


@pytest.mark.parametrize("name", MARKED)
def test_rows_that_optax_changed_before_a_program_of_their_own_give_nan(name):
    """Nothing but numbers tells there that these are not the evaluation's rows."""
    for direction in compiled_alone(in_optax_chain(name)):
        assert np.isnan(direction).all()


def test_the_same_for_flat_regions_and_rows_that_nobody_changed_are_summed():
    flat = mtopt.flat_regions(mtopt.equal_weighting(K), rho=RHO)
    nothing = optax.chain(optax.identity(), mtopt.chain(flat))
    changed, same, alone = compiled_alone(
        (optax.chain(mtopt.normalize_rows(K), flat), nothing, flat)
    )
    assert np.isnan(changed).all()
    assert_close(same, alone, rtol=1e-6)


def reads_no_losses():
    """The methods that only the scale of rows, not that of losses, can change."""
    return [
        name for name in SPACED if about(mtopt.METHODS[name]).family != "preference"
    ]


def on_scaled_losses(inner):
    """Directions behind unit rows, as the losses are, and with one of them scaled."""
    with jax.enable_x64(True):
        tx = in_a_step(mtopt.chain(mtopt.normalize_rows(K), inner))

        @jax.jit
        def direction(scale):
            return update(tx, forms(True, scale)["stack"])[0]

        return [direction(jnp.array([c, 1.0, 1.0])) for c in (1.0, 100.0)]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name == "mgda" else pytest.mark.slow)
        for name in reads_no_losses()
    ],
)
def test_unit_rows_take_the_unit_of_a_loss_out_in_the_representation_too(name):
    plain, scaled = on_scaled_losses(method_in(name, "representation"))
    assert_close(scaled, plain, rtol=1e-6)


def test_flat_regions_behind_unit_rows_has_the_flat_parts_of_these():
    """A gradient of 100 is a row of 1: its flat part is that of 1, not 100 - 1."""
    inner = mtopt.flat_regions(mtopt.equal_weighting(K), rho=RHO)
    plain, scaled = on_scaled_losses(inner)
    assert_close(scaled, plain, rtol=1e-9)


def refusal(tx):
    own, params = problem()
    with pytest.raises(mtopt.UserError) as raised:
        jax.eval_shape(lambda: update_on(tx, tx.init(params), own, params))
    return str(raised.value)


@pytest.mark.parametrize("name", SPACED)
def test_a_momentum_of_rows_before_a_method_in_the_representation_is_refused(name):
    method = method_in(name, "representation")
    message = refusal(mtopt.chain(mtopt.task_momentum(K), method))
    assert "task_momentum made something of them" in message


@pytest.mark.parametrize(
    ("tx", "message"),
    [
        (
            optax.chain(mtopt.normalize_rows(K), method_in("mgda", "representation")),
            "outside of mtopt.chain",
        ),
        (
            mtopt.chain(optax.clip(1.0), method_in("mgda", "representation")),
            "or not of mtopt",
        ),
        (
            mtopt.flat_regions(
                method_in("mgda", "representation"), variant="each_aggregate"
            ),
            "an aggregate in flat_regions",
        ),
        (
            mtopt.flat_regions(
                method_in("mgda", "representation"), variant="second_aggregate"
            ),
            "an aggregate in flat_regions",
        ),
        (
            mtopt.chain(mtopt.per_task_sam(K), method_in("graddrop", "representation")),
            "at one point",
        ),
        (
            mtopt.chain(mtopt.per_task_sam(K), mtopt.flat_regions(mtopt.mgda(K))),
            "at one point",
        ),
        (
            mtopt.chain(mtopt.task_momentum(K), mtopt.flat_regions(mtopt.mgda(K))),
            "task_momentum made something",
        ),
    ],
)
def test_what_has_no_counterpart_there_is_refused_by_name(tx, message):
    assert message in refusal(tx)
