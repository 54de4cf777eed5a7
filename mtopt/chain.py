"""``optax.chain`` for tasks: members see what leaves it, and one head at a time."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from mtopt.errors import UserError, expect_one_of
from mtopt.evaluation import Evaluation, split
from mtopt.frozen import SELECTIVE, warn_of_frozen
from mtopt.made_of import learns_in_optax_chain, modules, parts
from mtopt.member import Member
from mtopt.options import is_traced
from mtopt.per_head import HISTORIES, per_head, refuse_unmapped, select_present
from mtopt.per_task import task_names
from mtopt.points import if_equal


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

    Where updates of shared parameters are set to zero behind the aggregator, and their
    gradients decide about others in it, it warns when it is traced: freeze them before.

    Args:
      *transforms: transformations of per-task gradients, one aggregator, then ordinary
        optax. A chain may be a member of another one.
      absent: what the own parameters of a task do that is absent from a batch.
        ``"wait"``: they and their moments stay as they are; ``"move"``: momentum and
        weight decay go on, as optax does with a gradient of zero.

    Returns:
      A transformation whose state is the tuple of its members' states.

    Raises:
      UserError: for another value of ``absent``, or a member that is an aggregator with
        an optimizer of layers behind it: each is a member of its own; for a method that
        learns from the step within ``optax.chain``.

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
    refuse_untold(transforms)
    members = [_member(transform, absent == "wait") for transform in transforms]
    may_freeze = any(not SELECTIVE.isdisjoint(parts(each)) for each in transforms)

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
            points = known.points and if_equal(known.rows, rows, known.points)
            known = known.replace(rows=rows, heads=heads, points=points, rebuilt=False)
        place: int | None = None  # of the aggregator among the members

        def run(index: int, updates: Any, known: Evaluation) -> tuple[Any, ...]:
            """The updates of the members from this one on, and their new states."""
            nonlocal place
            if index == len(members):
                return updates, (), known

            def rest(own_updates: Any) -> Any:
                return after(run(index + 1, own_updates, known)[0])

            made, first, seen = step(index, updates, known, rest)
            if _is_direction(made, params) and not _is_direction(updates, params):
                place = index
            last, others, seen = run(index + 1, made, seen)
            return last, (first, *others), seen

        def step(
            index: int, updates: Any, known: Evaluation, rest: Any
        ) -> tuple[Any, Any, Evaluation]:
            """What one member makes of the updates."""
            return members[index].see(
                updates,
                state[index],
                params,
                evaluation=known.replace(after=rest),
                **extra,
            )

        def check(place: int) -> None:
            """Looks at what the aggregator's place makes of frozen parameters."""

            def until(updates: Any) -> tuple[Any, Evaluation]:
                seen = known
                for earlier in range(place):
                    updates, _, seen = step(earlier, updates, seen, after)
                return updates, seen

            def behind(made: Any) -> Any:
                return after(run(place + 1, made, known)[0])

            def aggregate(rows: Any) -> tuple[Any, Any]:
                return step(place, rows, until(updates)[1], behind)[:2]

            warn_of_frozen(
                lambda rows: until(rows)[0], aggregate, behind, updates, params
            )

        last, new_state, seen = run(0, updates, known)
        if may_freeze and place is not None and is_traced(updates):
            check(place)
        return last, new_state, seen.replace(after=known.after)

    return Member(init, see)


def refuse_untold(transformation: Any) -> None:
    """Raises for a method that learns from the step where it is not told of all of it.

    Args:
      transformation: a member of a chain, or what holds one.

    Raises:
      UserError: for one in ``optax.chain``, also in a chain of mtopt that stands there.
    """
    if learns_in_optax_chain(transformation):
        raise UserError(
            "a method that learns from the step, as famo does, stands in optax.chain, "
            "which does not tell it what the members behind it make of its update: "
            "expected one mtopt.chain, as in mtopt.chain(mtopt.famo(3), "
            "optax.clip_by_global_norm(1.0), optax.sgd(0.1))"
        )


def _member(transform: optax.GradientTransformation, wait: bool) -> Member:
    """A member of a chain; one of optax's own sees one head at a time."""
    if isinstance(transform, Member):
        return transform
    plain = optax.with_extra_args_support(transform)
    origins = {module.split(".")[0] for module in modules(transform)}
    if "mtopt" in origins:  # it knows the axis of tasks
        refuse_unmapped(transform)
        return _telling_nothing(plain)
    # Without memory, only a decay of parameters moves a head whose gradient is 0.
    may_decay = "add_decayed_weights" in parts(transform) or origins - {"optax", "jax"}
    has_history = not parts(transform).isdisjoint(HISTORIES)
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
        waiting = select_present(present, names, new_updates, nothing)
        if has_history:  # of steps that all parameters took together
            return waiting, new_state
        return waiting, select_present(present, names, new_state, state)

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
