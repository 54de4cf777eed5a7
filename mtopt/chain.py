"""``optax.chain`` for tasks: members see what leaves it, and one head at a time."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from mtopt.errors import expect_one_of
from mtopt.evaluation import Evaluation, split
from mtopt.member import Member
from mtopt.per_head import modules, parts, per_head, select_present
from mtopt.per_task import task_names


def chain(*transforms: optax.GradientTransformation, absent: str = "wait") -> Member:
    """Chains transformations: per-task gradients in, one update out.

    It is ``optax.chain``, and hands every member an evaluation whose ``after`` is a
    function from the update that the member makes to the one that leaves the whole
    chain, learning rate, momentum and clipping included. A method that adapts by what
    the step does to the losses, such as FAMO, evaluates ``problem.losses(params +
    after(update))``. ``after`` changes no state; the chain then computes the same once
    more, which ``jit`` merges.

    Behind the aggregator, an optimizer sees one task's own parameters at a time: a head
    moves as it does when its task is trained alone, also under an optimizer that looks
    at whole layers, such as ``optax.lamb`` or ``optax.contrib.muon``. A transformation
    of all parameters at once, such as ``optax.clip_by_global_norm``, stays one: make it
    a member of its own.

    Args:
      *transforms: transformations of per-task gradients, one aggregator, then ordinary
        optax. A chain may be a member of another one.
      absent: what the own parameters of a task do that is absent from a batch.
        ``"wait"``: they and their moments stay as they are; ``"move"``: momentum and
        weight decay go on, as optax does with a gradient of zero.

    Returns:
      A transformation whose state is the tuple of its members' states.

    Raises:
      UserError: for another value of ``absent``.

    Example:
      >>> import jax.numpy as jnp, mtopt
      >>> tx = mtopt.chain(mtopt.equal_weighting(2), optax.sgd(0.1))
      >>> params = jnp.zeros(2)
      >>> rows = jnp.array([[1., 0.], [3., 2.]])
      >>> updates, state = tx.update(rows, tx.init(params), params)
      >>> print(updates)
      [-0.2 -0.1]
    """
    expect_one_of("absent", absent, ("wait", "move"))
    members = [_member(transform, absent == "wait") for transform in transforms]

    def init(params: Any) -> tuple[Any, ...]:
        return tuple(member.init(params) for member in members)

    def see(
        updates: Any,
        state: Any,
        params: Any = None,
        *,
        evaluation: Evaluation | None = None,
        **extra: Any,
    ) -> tuple[Any, tuple[Any, ...], Evaluation]:
        known = Evaluation() if evaluation is None else evaluation
        after = known.after or (lambda updates: updates)
        if known.rebuilt:  # from here on its rows are known by their arrays again
            rows, heads = split(updates)
            known = known.replace(
                rows=rows, heads=heads, points=known.points, rebuilt=False
            )

        def run(index: int, updates: Any, known: Evaluation) -> tuple[Any, ...]:
            """The updates of the members from this one on, and their new states."""
            if index == len(members):
                return updates, (), known

            def rest(own_updates: Any) -> Any:
                return after(run(index + 1, own_updates, known)[0])

            updates, first, seen = members[index].see(
                updates,
                state[index],
                params,
                evaluation=known.replace(after=rest),
                **extra,
            )
            updates, others, seen = run(index + 1, updates, seen)
            return updates, (first, *others), seen

        updates, state, seen = run(0, updates, known)
        return updates, state, seen.replace(after=known.after)

    return Member(init, see)


def _member(transform: optax.GradientTransformation, wait: bool) -> Member:
    """A member of a chain; one of optax's own sees one head at a time."""
    if isinstance(transform, Member):
        return transform
    plain = optax.with_extra_args_support(transform)
    origins = {module.split(".")[0] for module in modules(transform)}
    if "mtopt" in origins:  # it knows the axis of tasks
        return _telling_nothing(plain)
    # Without memory, only a decay of parameters moves a head whose gradient is 0.
    may_decay = "add_decayed_weights" in parts(transform) or origins - {"optax", "jax"}
    mapped = per_head(transform)

    def update(
        updates: Any,
        state: Any,
        params: Any = None,
        *,
        evaluation: Evaluation | None = None,
        **extra: Any,
    ) -> tuple[Any, Any]:
        known = {**extra, "evaluation": evaluation}
        if not _is_direction(updates, params):
            return plain.update(updates, state, params, **known)
        new_updates, new_state = mapped.update(updates, state, params, **known)
        present = None if evaluation is None else evaluation.present
        stands_still = not (may_decay or jax.tree.leaves(state))
        if not wait or present is None or stands_still:
            return new_updates, new_state
        names = task_names(updates)
        nothing = jax.tree.map(jnp.zeros_like, updates)
        return (
            select_present(present, names, new_updates, nothing),
            select_present(present, names, new_state, state),
        )

    own = optax.GradientTransformationExtraArgs(mapped.init, update)
    return _telling_nothing(own)


def _telling_nothing(transform: optax.GradientTransformationExtraArgs) -> Member:
    """A member that hands on the evaluation as it came."""

    def see(
        updates: Any, state: Any, params: Any = None, *, evaluation: Any, **extra: Any
    ) -> tuple[Any, Any, Any]:
        known = {**extra, "evaluation": evaluation}
        return (*transform.update(updates, state, params, **known), evaluation)

    return Member(transform.init, see)


def _is_direction(updates: Any, params: Any) -> bool:
    """Whether updates have the parameters' shapes: an aggregator stands before them."""
    rows, _ = split(updates)
    shared, heads = split(params)
    if heads is None:
        return False
    found = zip(jax.tree.leaves(rows), jax.tree.leaves(shared), strict=False)
    return all(jnp.shape(leaf) == jnp.shape(own) for leaf, own in found)
