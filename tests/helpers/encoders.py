"""Encoders of many makes, with the parameters that can do without rows."""

import jax
import jax.numpy as jnp
import numpy as np

WIDTH, LENGTH, SAMPLES, TASKS = 6, 5, 7, 3
NAMES = ("a", "b", "c")


def normal(*shape, seed=0):
    return np.random.default_rng((seed, *shape)).normal(size=shape) / 2


def dense(shared, x, key):
    for weight, bias in zip(shared["w"], shared["b"], strict=True):
        x = jnp.tanh(x @ weight + bias[None])
    return x


def transposed(shared, x, key):
    """The parameters as the first factor, transposed, cast, with axes of one."""
    x = jnp.tanh((shared["left"] @ x.T).T)
    x = jnp.tanh(x @ shared["right"].T)
    return jnp.einsum("bi,iho->bho", x, shared["heads"][:, None] * 1)[:, 0]


def three_ways(shared, x, key):
    """One parameter: in a product, in another, and entry by entry."""
    x = jnp.tanh(x @ shared["w"])
    return jnp.tanh(x @ shared["w"]) * shared["w"][0][None]


def twice(shared, x, key):
    """One parameter in two products, of equal form."""
    return jnp.tanh(jnp.tanh(x @ shared["w"]) @ shared["w"])


def both_ways(shared, x, key):
    """One parameter in two products, of which one takes it transposed."""
    return jnp.tanh(jnp.tanh(x @ shared["w"]) @ shared["w"].T)


def turned(shared, x, key):
    """One parameter in two products, turned round in two ways that are of one shape."""
    once = shared["w"].transpose(0, 2, 1).reshape(WIDTH, -1)
    again = shared["w"].transpose(1, 0, 2).reshape(WIDTH, -1)
    return jnp.tanh(x @ once)[:, :WIDTH] + jnp.tanh(x @ again)[:, -WIDTH:]


def low_rank(shared, x, key):
    """Two parameters multiplied with each other before the input."""
    return jnp.tanh(x @ (shared["down"] @ shared["up"]))


def recurrent(shared, x, key):
    """An LSTM by scan over time."""

    def step(carry, now):
        hidden, cell = carry
        gates = now @ shared["in"] + hidden @ shared["again"] + shared["b"][None]
        i, f, g, o = jnp.split(gates, 4, axis=1)
        cell = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
        return (jax.nn.sigmoid(o) * jnp.tanh(cell), cell), None

    start = jnp.zeros((len(x), WIDTH), x.dtype)
    sequence = jnp.stack([x, -x, 2 * x])
    return jax.lax.scan(step, (start, start), sequence)[0][0]


def transformer(shared, x, key):
    """A block of attention on tokens, its output layer tied to the embedding."""
    tokens = jnp.argsort(x, axis=1)[:, :LENGTH]
    h = shared["embedding"][tokens]
    q, k, v = (jnp.einsum("bti,ihd->bthd", h, shared[name]) for name in "qkv")
    scores = jax.nn.softmax(jnp.einsum("bthd,bshd->bhts", q, k))
    mixed = jnp.einsum("bhts,bshd->bthd", scores, v)
    h = h + jnp.einsum("bthd,hdo->bto", mixed, shared["out"])
    h = h + jax.nn.gelu(h @ shared["up"]) @ shared["down"]
    return (h @ shared["embedding"].T).mean(1)


def maps(kernel, x):
    image = x.reshape(len(x), 2, 3, 1)
    found = jax.lax.conv_general_dilated(
        image, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return jnp.tanh(found.reshape(len(x), -1))


def convolved(shared, x, key):
    return maps(shared["kernel"], x) @ shared["w"]


def without_layers(shared, x, key):
    return maps(shared, x)[:, :WIDTH]


def checkpointed(shared, x, key):
    """The first layer under rematerialisation."""
    return jax.checkpoint(lambda w, x: jnp.tanh(x @ w))(shared["w"], x) @ shared["v"]


def in_a_function_of_its_own(shared, x, key):
    """A compiled function called twice, and a derivative by hand."""
    layer = jax.jit(lambda w, x: jax.nn.relu(x @ w))

    @jax.custom_vjp
    def square(w, x):
        return (x @ w) ** 2

    square.defvjp(
        lambda w, x: (square(w, x), (w, x)),
        lambda seen, g: (
            seen[1].T @ (2 * g * (seen[1] @ seen[0])),
            (2 * g * (seen[1] @ seen[0])) @ seen[0].T,
        ),
    )
    return square(shared["s"], layer(shared["v"], layer(shared["w"], x)))


W = WIDTH
# The function, its parameters, and which of them need no rows.
ENCODERS = {
    "dense": (
        dense,
        {
            "w": [normal(W, 2 * W), normal(2 * W, W)],
            "b": [normal(2 * W), normal(W)],
        },
        2,
    ),
    "transposed": (
        transposed,
        {
            "left": normal(W, W),
            "right": normal(W, W, seed=1),
            "heads": normal(W, W, seed=2),
        },
        2,
    ),
    "three ways": (three_ways, {"w": normal(W, W)}, 0),
    "twice": (twice, {"w": normal(W, W)}, 1),
    "both ways": (both_ways, {"w": normal(W, W)}, 0),
    "turned": (turned, {"w": normal(W, W, W)}, 0),
    "low rank": (low_rank, {"down": normal(W, 2), "up": normal(2, W)}, 0),
    "LSTM by scan": (
        recurrent,
        {"in": normal(W, 4 * W), "again": normal(W, 4 * W, seed=1), "b": normal(4 * W)},
        0,
    ),
    "transformer": (
        transformer,
        {
            "embedding": normal(W, W, seed=1),
            "q": normal(W, 2, 3, seed=2),
            "k": normal(W, 2, 3, seed=3),
            "v": normal(W, 2, 3, seed=4),
            "out": normal(2, 3, W),
            "up": normal(W, 8),
            "down": normal(8, W),
        },
        6,
    ),
    "convolution": (convolved, {"kernel": normal(3, 3, 1, 2), "w": normal(12, W)}, 1),
    "without layers": (without_layers, normal(3, 3, 1, 2), 0),
    "checkpoint": (checkpointed, {"w": normal(W, W), "v": normal(W, W, seed=1)}, 2),
    "functions": (
        in_a_function_of_its_own,
        {name: normal(W, W, seed=i) for i, name in enumerate("wvs")},
        2,
    ),
}
