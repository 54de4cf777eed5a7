"""Three sources of their own sizes, five losses: molecules, proteins, labelled pairs.

The step of SSM-DTA (Pei et al., 2022, arXiv 2206.09818): hidden tokens of unlabelled
molecules and proteins, and of those of the pairs, are filled in, beside a regression on
the pairs.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax

import mtopt
from mtopt.per_task import task_keys

WIDTH = 16
KINDS = ("mol", "prot")
TOKENS = {"mol": 40, "prot": 26}
LENGTH = {"mol": 12, "prot": 20}
SAMPLES = {"pairs": 6, "mol": 10, "prot": 8}
# Of each task: its source, and the encoder that it trains alone.
OF = {
    "affinity": ("pairs", None),
    "paired_mol": ("pairs", "mol"),
    "paired_prot": ("pairs", "prot"),
    "unpaired_mol": ("mol", "mol"),
    "unpaired_prot": ("prot", "prot"),
}
NAMES = tuple(OF)
KEY = jax.random.key(3)


def transform(layers, sequence, tokens):
    """A transformer on the real tokens, whose ``[b, t]`` are the others' keys too."""
    h = layers["embed"][tokens]
    for block in layers["blocks"]:
        scores = jnp.einsum("bld,dk,bmk->blm", h, block["attend"], h)
        scores = jnp.where(sequence["real"][:, None], scores, -1e9)
        h = h + jax.nn.softmax(scores) @ h @ block["mix"]
        h = h + jax.nn.relu(h @ block["up"]) @ block["down"]
    return h


def pool(h, real):
    """The mean over real tokens; a placeholder may have none."""
    count = jnp.maximum(real.sum(1), 1)[:, None]
    return jnp.where(real[..., None], h, 0).sum(1) / count


def encode_pairs(shared, x, key):
    """Each protein as its molecule attends to it, beside the molecule."""
    mol, prot = (transform(shared[k], x[k], x[k]["tokens"]) for k in KINDS)
    scores = jnp.einsum("bld,dk,bmk->blm", mol, shared["cross"], prot)
    scores = jnp.where(x["prot"]["real"][:, None], scores, -1e9)
    real = x["mol"]["real"]
    seen = jax.nn.softmax(scores) @ prot
    return jnp.concatenate([pool(mol, real), pool(seen, real)], axis=-1)


def affinity_loss(head, z, y, mask, key):
    return mtopt.masked_mean((z @ head - y) ** 2, mask)


def encode_hidden(kind, paired):
    def encode(shared, x, key):
        sequence = x[kind] if paired else x
        tokens, real = sequence["tokens"], sequence["real"]
        hidden = real & jax.random.bernoulli(key, 0.3, tokens.shape)
        h = transform(shared[kind], sequence, jnp.where(hidden, 0, tokens))
        return {"h": h, "tokens": tokens, "hidden": hidden}

    return encode


def hidden_loss(head, z, y, mask, key):
    """The mean over the tokens that were hidden, of whichever samples."""
    logits = z["h"] @ head
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, z["tokens"])
    return mtopt.masked_mean(losses, z["hidden"] & mask[:, None])


def groups(names=NAMES):
    """A group of one task each."""
    found = []
    for name in names:
        source, kind = OF[name]
        encode, loss = encode_pairs, affinity_loss
        if kind is not None:
            encode, loss = encode_hidden(kind, source == "pairs"), hidden_loss
        found.append(mtopt.Tasks((name,), encode, loss))
    return mtopt.TaskGroups(tuple(found), shared_inputs=False)


def params(names=NAMES):
    rng = np.random.default_rng(0)

    def draw(*shape):
        return (rng.normal(size=shape) / shape[0] ** 0.5).astype("float32")

    def block():
        square, wide = (WIDTH, WIDTH), (WIDTH, 4 * WIDTH)
        return {
            "attend": draw(*square),
            "mix": draw(*square),
            "up": draw(*wide),
            "down": draw(*wide[::-1]),
        }

    shared = {
        kind: {"embed": draw(TOKENS[kind], WIDTH), "blocks": [block()]}
        for kind in KINDS
    }
    shared["cross"] = draw(WIDTH, WIDTH)
    heads = {
        name: draw(2 * WIDTH) if kind is None else draw(WIDTH, TOKENS[kind])
        for name, (_, kind) in OF.items()
    }
    tasks = tuple(mtopt.PerTask(heads[name][None], (name,)) for name in names)
    return {"shared": shared, "tasks": tasks}


def batch(names=NAMES):
    """Of every source its own samples, of lengths of their own."""
    rng = np.random.default_rng(1)

    def sequences(kind, count):
        length = rng.integers(LENGTH[kind] // 2, LENGTH[kind] + 1, count)
        shape = count, LENGTH[kind]
        return {
            "tokens": rng.integers(1, TOKENS[kind], shape).astype("int32"),
            "real": np.arange(LENGTH[kind]) < length[:, None],
        }

    pairs = {kind: sequences(kind, SAMPLES["pairs"]) for kind in KINDS}
    x = {"pairs": pairs} | {kind: sequences(kind, SAMPLES[kind]) for kind in KINDS}
    labels = rng.normal(size=(1, SAMPLES["pairs"])).astype("float32")
    y = {name: np.zeros((1, SAMPLES[OF[name][0]]), "float32") for name in NAMES}
    y["affinity"] = labels
    return mtopt.Batch(
        tuple(x[OF[name][0]] for name in names),
        tuple(y[name] for name in names),
        tuple(np.ones(y[name].shape, bool) for name in names),
        tuple((name,) for name in names),
    )


def without(source, batch, inputs=None):
    """The batch in which nothing of a source has a label; its inputs as given."""
    own = [OF[name][0] == source for (name,) in batch.names]

    def gone(tree):
        return tree if inputs is None else jax.tree.map(inputs, tree)

    kept = zip(own, batch.x, batch.mask, strict=True)
    x, mask = zip(
        *((gone(x), m & False) if out else (x, m) for out, x, m in kept), strict=True
    )
    return dataclasses.replace(batch, x=x, mask=mask)


def loss_by_hand(k, params, batch, key):
    """That of one task, with neither groups nor masks of samples."""
    group = groups().groups[k]
    (own,) = task_keys(jax.random.fold_in(key, 0), group.names)
    z = group.encode(params["shared"], batch.x[k], own)
    (head,), (y,) = params["tasks"][k].values, batch.y[k]
    return group.head_loss(head, z, y, jnp.ones(len(y), bool), None)
