"""Messages between the atoms of a molecule, by their distances alone."""

import functools
import math

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Num

from mtopt.errors import UserError, expect, expect_number
from mtopt.models.functional import Model, functional
from mtopt.models.heads import linear_head
from mtopt.models.layers import as_floats, dense

ELEMENTS = 118
COLUMNS = 4
"""Of an atom: atomic number, x, y, z."""


def shifted_softplus(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """``log(1 + e^x) - log 2``: smooth, and 0 at 0."""
    return jax.nn.softplus(x) - math.log(2)


# As SchNet starts. torch's own start keeps a third of the variance at each of five
# layers: what an atom hears would all but vanish beside what it is.
glorot_dense = functools.partial(dense, kernel_init=nnx.initializers.glorot_uniform())


class Interaction(nnx.Module):
    """One round of messages; see :func:`message_passing`."""

    def __init__(
        self, width: int, basis: int, *, dtype: DTypeLike, rngs: nnx.Rngs
    ) -> None:
        make = {"dtype": dtype, "rngs": rngs}
        self.filters = nnx.Sequential(
            glorot_dense(basis, width, **make),
            shifted_softplus,
            glorot_dense(width, width, **make),
        )
        self.sent = glorot_dense(width, width, use_bias=False, **make)
        self.received = nnx.Sequential(
            glorot_dense(width, width, **make),
            shifted_softplus,
            glorot_dense(width, width, **make),
        )

    def __call__(
        self,
        h: Float[Array, "b n d"],
        expanded: Float[Array, "b n n c"],
        near: Float[Array, "b n n"],
    ) -> Float[Array, "b n d"]:
        """The atoms, having heard from those near them."""
        filters = self.filters(expanded) * near[..., None]
        return h + self.received(jnp.einsum("bijd,bjd->bid", filters, self.sent(h)))


class MessagePassing(nnx.Module):
    """Atoms as vectors that hear from each other; see :func:`message_passing`."""

    def __init__(
        self,
        *,
        width: int,
        layers: int,
        basis: int,
        cutoff: float,
        atoms: int,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ) -> None:
        self.elements = nnx.Embed(
            ELEMENTS + 1,
            width,
            embedding_init=nnx.initializers.normal(1.0),
            dtype=dtype,
            rngs=rngs,
        )
        self.interactions = nnx.List(
            Interaction(width, basis, dtype=dtype, rngs=rngs) for _ in range(layers)
        )
        self.of_atom = glorot_dense(width, width, dtype=dtype, rngs=rngs)
        self.of_molecule = glorot_dense(2 * width, width, dtype=dtype, rngs=rngs)
        self.basis = basis
        self.cutoff = cutoff
        self.atoms = atoms
        self.dtype = dtype

    def __call__(self, x: Num[Array, "b n 4"]) -> Float[Array, "b width"]:
        """The molecules as vectors."""
        numbers = jnp.round(x[..., 0]).astype(jnp.int32)
        real = numbers > 0
        h = self.elements(jnp.clip(numbers, 0, ELEMENTS))
        # Of two atoms far from the origin, bfloat16 would lose the distance.
        distance = _distances(as_floats(x[..., 1:], jnp.float32))
        expanded = self._expanded(distance).astype(self.dtype)
        near = self._near(distance, real).astype(self.dtype)
        for interaction in self.interactions:
            h = interaction(h, expanded, near)
        own = shifted_softplus(self.of_atom(h))
        total = jnp.where(real[..., None], own, 0).sum(axis=1)
        count = jnp.maximum(real.sum(axis=1, keepdims=True), 1).astype(self.dtype)
        # Some properties grow with the molecule, as energies do, others do not.
        both = jnp.concatenate([total / self.atoms, total / count], axis=-1)
        return shifted_softplus(self.of_molecule(both))

    def _expanded(self, distance: Float[Array, "b n n"]) -> Float[Array, "b n n c"]:
        """Distances as bumps around evenly spaced centres, as wide as their spacing."""
        centres = jnp.linspace(0, self.cutoff, self.basis)
        spacing = self.cutoff / max(self.basis - 1, 1)
        away = (distance[..., None] - centres[None, None, None, :]) / spacing
        return jnp.exp(-0.5 * away**2)

    def _near(
        self, distance: Float[Array, "b n n"], real: Bool[Array, "b n"]
    ) -> Float[Array, "b n n"]:
        """What counts of each pair of atoms: 1 at no distance, 0 from the cutoff on."""
        others = ~jnp.eye(real.shape[1], dtype=bool)[None]
        pairs = real[:, :, None] & real[:, None, :] & others
        within = jnp.minimum(distance / self.cutoff, 1)
        return jnp.where(pairs, 0.5 * (1 + jnp.cos(jnp.pi * within)), 0)


def _distances(places: Float[Array, "b n 3"]) -> Float[Array, "b n n"]:
    """Those of all pairs; of two atoms in one place 0, with a gradient of 0."""
    square = ((places[:, :, None] - places[:, None]) ** 2).sum(axis=-1)
    apart = square > 0
    return jnp.where(apart, jnp.sqrt(jnp.where(apart, square, 1)), 0)


def message_passing(
    input_shape: tuple[int, ...],
    *,
    names: tuple[str, ...],
    kind: str,
    outputs: int,
    x_axis: int | None = None,
    dtype: DTypeLike = jnp.float32,
    width: int = 64,
    layers: int = 3,
    basis: int = 32,
    cutoff: float = 10.0,
) -> Model:
    r"""Continuous filters between the atoms of a molecule, and a linear head a task.

    With :math:`h_i` the vector of atom i, which starts as that of its element, and
    :math:`d_{ij}` the distance of two atoms, every layer adds

    .. math::
       h_i \leftarrow h_i + U\Big(\sum_{j \ne i} c(d_{ij})\, W(e(d_{ij})) \odot V h_j
       \Big) \qquad
       e_k(d) = \exp\big(-\tfrac{1}{2} (d / \delta - k)^2\big) \qquad
       c(d) = \tfrac{1}{2} \big(1 + \cos(\pi d / D)\big)

    with V linear, U and W of two layers, :math:`\delta = D / (C - 1)` for C centres up
    to the cutoff D, and c zero beyond it. The representation is made of the sum and of
    the mean of what the atoms are in the end. Turning, shifting or mirroring a molecule
    and naming its atoms in another order changes nothing: what tells a molecule from
    its mirror image can't be learned.

    Args:
      input_shape: (atoms, 4), without the batch axis: of each atom its atomic number, 1
        to 118, then its place x, y, z, in the unit of ``cutoff``; rows of zeros behind
        them fill up smaller molecules.
      names: the K task names, sorted.
      kind: what the labels are, an entry of :data:`mtopt.models.heads.LOSSES`.
      outputs: the size of a head's output: classes, levels, label columns, or 1.
      x_axis: None for shared inputs, 0 for disjoint ones.
      dtype: what the layers compute in; distances are float32.
      width: of the vectors, 1 or more.
      layers: rounds of messages, 1 or more.
      basis: C, the centres that a distance is compared with, 2 or more.
      cutoff: D, the distance from which atoms do not hear each other, above 0; 10
        angstroms see almost all pairs of a small molecule.

    Returns:
      The model.

    Raises:
      UserError: for inputs that are not atoms, or an option out of range.

    Example:
      >>> model = message_passing((3, 4), names=("energy", "gap"), kind="regression",
      ...                         outputs=1, width=8, layers=1)
      >>> params, model_state = model.init(jax.random.key(0))
      >>> water = jnp.array([[8., 0, 0, 0], [1, .96, 0, 0], [1, -.24, .93, 0]])
      >>> turned = water.at[:, 1:].set(water[:, :0:-1] + 5)[::-1]
      >>> energy, gap = model.predict(params, model_state, jnp.stack([water, turned]))
      >>> bool(abs(energy[0] - energy[1]) < 1e-5)
      True

    References:
      Schütt et al., SchNet: A continuous-filter convolutional neural network for
      modeling quantum interactions, NeurIPS 2017, arXiv 1706.08566. Message passing:
      Gilmer et al., Neural Message Passing for Quantum Chemistry, ICML 2017,
      arXiv 1704.01212.

    Differences from the paper:
      SchNet sums over atoms alone, uses 300 centres 0.1 angstrom apart, and its filter
      has no cutoff function. The network of the multi-task benchmark (Nash-MTL,
      LibMTL) is Gilmer's with edge networks, set2set and the bonds as inputs.
    """
    if len(input_shape) != 2 or input_shape[1] != COLUMNS:
        raise UserError(
            f"inputs of shape {input_shape}: expected (atoms, {COLUMNS}), an atomic "
            "number and a place of each atom"
        )
    for option, value, least in (
        ("width", width, 1),
        ("layers", layers, 1),
        ("basis", basis, 2),
    ):
        expect(value >= least, option, value, f"a whole number, {least} or more")
    expect_number("cutoff", cutoff, above=0)
    return functional(
        lambda rngs: MessagePassing(
            width=width,
            layers=layers,
            basis=basis,
            cutoff=cutoff,
            atoms=input_shape[0],
            dtype=dtype,
            rngs=rngs,
        ),
        linear_head(width, outputs, kind=kind, dtype=dtype),
        names,
        kind=kind,
        x_axis=x_axis,
    )
