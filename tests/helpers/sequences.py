"""Small transformers, and padded sequences for them."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import mtopt
from mtopt.models import MODELS
from mtopt.models.transformer import sequence
from tests.helpers.by_hand import plain
from tests.helpers.close import assert_close

NAMES = ("a", "b", "c")
LENGTH, VOCABULARY, ATTRIBUTES = 7, 6, (5, 4, 3)
SHAPES = {
    "tokens": ((LENGTH,), VOCABULARY),
    "items": ((LENGTH, 3), ATTRIBUTES),
    "vectors": ((LENGTH, 3), None),
}
SMALL = {"width": 8, "heads": 2, "layers": 1}


def encoder(form="tokens", **options):
    """A module on places of one form, in evaluation mode."""
    shape, vocabulary = SHAPES[form]
    make = sequence(shape, vocabulary=vocabulary, **{**SMALL, **options})
    module = make(nnx.Rngs(0))
    module.eval()
    return module


def transformer(form="tokens", names=NAMES, **options):
    shape, vocabulary = SHAPES[form]
    options = {"kind": "regression", "outputs": 1, **SMALL, **options}
    return MODELS["transformer"](shape, names=names, vocabulary=vocabulary, **options)


def places(form="tokens", size=6, dtype=np.float32, padding=0):
    """Sequences of 2 places and more, behind them padding."""
    rng = np.random.default_rng(0)
    shape = (size, LENGTH)
    x = {
        "tokens": rng.integers(1, VOCABULARY, shape),
        "items": np.stack([rng.integers(1, n, shape) for n in ATTRIBUTES], axis=-1),
        "vectors": rng.normal(size=(*shape, 3)).astype(dtype),
    }[form]
    lengths = 2 + np.arange(size) % (LENGTH - 1)
    mask = np.arange(LENGTH)[None] < lengths[:, None]
    return np.where(mask.reshape(mask.shape + (1,) * (x.ndim - 2)), x, padding), mask


def batch(form="tokens", tasks=3, size=6, dtype=np.float32):
    rng = np.random.default_rng(1)
    x, _ = places(form, size, dtype=dtype)
    y = rng.normal(size=(tasks, len(x))).astype(dtype)
    mask = rng.random(y.shape) < 0.8
    return mtopt.Batch(jnp.asarray(x), jnp.asarray(y), jnp.asarray(mask))


def in_float64(tree):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), tree)


def assert_rows_by_hand(problem, params, losses_of, *, rtol):
    """As :func:`tests.helpers.by_hand.assert_as_by_hand`, errors as shares of all rows.

    The bias of an attention's keys has a gradient of 0, which has no size.
    """
    losses, grads = jax.jit(problem.losses_and_grads)(params)
    assert_close(losses, jax.jit(losses_of)(plain(params)), rtol=rtol)
    jacobian = jax.jit(jax.jacrev(losses_of))(plain(params))
    own = jax.tree.map(lambda leaf: jnp.einsum("kk...->k...", leaf), jacobian["tasks"])
    expected = {"shared": jacobian["shared"], "tasks": own}
    assert jax.tree.structure(plain(grads)) == jax.tree.structure(expected)
    found, wanted = (
        np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])
        for tree in (plain(grads), expected)
    )
    assert_close(found, wanted, rtol=rtol)


def exact_attention(query, key, value, bias, mask, is_causal):
    """In place of jax.nn.dot_product_attention, which takes its softmax in float32."""
    assert bias is None
    assert not is_causal
    scores = jnp.einsum("bqhw,bkhw->bhqk", query, key) / np.sqrt(query.shape[-1])
    scores = scores if mask is None else jnp.where(mask, scores, -jnp.inf)
    return jnp.einsum("bhqk,bkhw->bqhw", jax.nn.softmax(scores), value)


def normed(z, own):
    """Layer normalisation by hand."""
    mean = z.mean(axis=-1, keepdims=True)
    deviation = jnp.sqrt(((z - mean) ** 2).mean(axis=-1, keepdims=True) + 1e-6)
    return (z - mean) / deviation * own["scale"][None] + own["bias"][None]


def attended(queries, keys, own):
    """One sample's attention by hand, a head after another."""
    q, k, v = (
        jnp.einsum("ld,dhw->lhw", z, own[name]["kernel"]) + own[name]["bias"][None]
        for name, z in (("query", queries), ("key", keys), ("value", keys))
    )
    read = []
    for head in range(q.shape[1]):
        scores = jnp.exp(q[:, head] @ k[:, head].T / np.sqrt(q.shape[2]))
        read.append(scores / scores.sum(axis=1, keepdims=True) @ v[:, head])
    kernel = own["out"]["kernel"]
    flat = jnp.concatenate(read, axis=1) @ kernel.reshape(-1, kernel.shape[-1])
    return flat + own["out"]["bias"][None]


def block(queries, keys, own):
    """One sample's layer by hand."""
    z = queries + attended(
        normed(queries, own["norm"]), normed(keys, own["norm"]), own["attention"]
    )
    hidden = normed(z, own["norm_of_sum"]) @ own["up"]["kernel"]
    hidden = jax.nn.gelu(hidden + own["up"]["bias"][None])
    return z + hidden @ own["down"]["kernel"] + own["down"]["bias"][None]
