"""Methods, models and data sets as text: ``name(option=value)``, read once.

Methods compose: ``normalize_rows(by='l2') + log_losses(cagrad(c=0.4), epsilon=1e-6)``
is a transformation of the rows, then an aggregator in a wrapper. Values are Python
literals; no text is ever executed. A name may be one of your own, ``module:name``.
"""

import ast
import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import optax

from mtopt.aggregation import Aggregator
from mtopt.chain import chain
from mtopt.errors import UserError, nearest
from mtopt.imported import as_python, as_text, imported, is_imported
from mtopt.methods import METHODS
from mtopt.transforms import TRANSFORMS
from mtopt.wrappers import WRAPPERS

Registry = Mapping[str, Callable[..., Any]]


def method(
    text: str, num_tasks: int, **known: Any
) -> optax.GradientTransformationExtraArgs:
    """An aggregator of K tasks from a text, such as ``"normalize_rows + mgda"``.

    Args:
      text: as :meth:`MethodText.parse` reads it.
      num_tasks: K.
      **known: what you know, such as ``steps_per_epoch``: the values of options that
        have no default, where ``text`` gives none.

    Raises:
      UserError: for what can't be read, a misspelt name or option, or a value that an
        option can't have.

    Example:
      >>> import jax.numpy as jnp, mtopt
      >>> tx = mtopt.method("normalize_rows + mgda", 2)
      >>> direction, _ = tx.update(
      ...     jnp.array([[2., 0.], [0., 3.]]), tx.init(jnp.zeros(2)))
      >>> print(direction.round(3))
      [0.5 0.5]
    """
    return MethodText.parse(text, tuple(known)).build(num_tasks, **known)


@dataclasses.dataclass(frozen=True)
class MethodText:
    """A composition of methods, read and checked: what it builds for any K.

    Attributes:
      text: what was read.
      stages: transformations of the rows, then one aggregator, on its own or in
        wrappers.
    """

    text: str
    stages: tuple["_Call", ...] = dataclasses.field(compare=False, repr=False)

    @classmethod
    def parse(cls, text: str, known: tuple[str, ...] = ()) -> "MethodText":
        """Reads a text that can be a method, whatever the number of tasks.

        Args:
          text: stages joined by ``+``. Each is a name, or a call with Python literals
            as options; a wrapper's first argument is what it wraps.
          known: the options without a default whose values :meth:`build` will get.

        Raises:
          UserError: for what can't be read, a misspelt name or option, a missing
            option, or stages in an order that makes no method.

        Example:
          >>> text = MethodText.parse("smoothed_weights(mgda, alpha=0.5)")
          >>> tx = text.build(num_tasks=3)
        """
        stages = _parse("method", text)
        _check_stages(stages, known)
        return cls(text, stages)

    def with_options(self, options: Mapping[str, Mapping[str, Any]]) -> "MethodText":
        """The same with more options, whose values need not be plain numbers.

        Args:
          options: name in the text to option to value, which may be traced; they take
            the place of those that the text gives.

        Example:
          >>> text = MethodText.parse("log_losses(cagrad)")
          >>> tx = text.with_options({"cagrad": {"c": 0.2}}).build(3)
        """
        stages = tuple(stage.with_options(options) for stage in self.stages)
        return dataclasses.replace(self, stages=stages)

    def build(
        self, num_tasks: int, **known: Any
    ) -> optax.GradientTransformationExtraArgs:
        """The aggregator for K tasks.

        Args:
          num_tasks: K.
          **known: the values of what ``parse`` was told is known.

        Raises:
          UserError: for a value that an option can't have.
        """
        *transforms, last = self.stages
        aggregator = _build_aggregator(last, num_tasks, known)
        if not transforms:
            return aggregator
        before = [TRANSFORMS[s.name](num_tasks, **s.options) for s in transforms]
        return chain(*before, aggregator)


@dataclasses.dataclass(frozen=True)
class CallText:
    """One entry of a registry with its options, read and checked: ``mlp(hidden=(8,))``.

    Attributes:
      name: of the entry.
      options: those that the text gives.
      function: what the registry has under the name.
    """

    name: str
    options: Mapping[str, Any]
    function: Callable[..., Any]

    @classmethod
    def parse(
        cls,
        what: str,
        text: str,
        registry: Registry,
        *,
        arguments: int = 0,
        given: tuple[str, ...] = (),
    ) -> "CallText":
        """Reads a name, or a name with Python literals as options.

        Args:
          what: what is being named, for the error: ``"model"``, ``"data set"``.
          text: ``"mlp"`` or ``"mlp(hidden=(8,))"``.
          registry: name to function.
          arguments: how many positional ones :meth:`build` will get.
          given: the keyword arguments that it will get.

        Raises:
          UserError: for a name, an option or a literal that can't be read.

        Example:
          >>> def power(base, *, exponent=2): return base ** exponent
          >>> call = CallText.parse(
          ...     "function", "power(exponent=3)", {"power": power}, arguments=1)
          >>> call.build(2)
          8
        """
        call, *more = _parse(what, text)
        if more or call.inner:
            raise _unreadable(what, text)
        _check_options(what, call, registry, arguments, given)
        return cls(call.name, call.options, _entry(what, call.name, registry))

    @classmethod
    def parse_sum(
        cls, what: str, text: str, registry: Registry
    ) -> tuple["CallText", ...]:
        """Reads several such entries, joined by ``+``.

        Args:
          what: what is being named, for the error.
          text: ``"flip + scale_crop(scales=(1.0, 1.5))"``.
          registry: name to function.

        Raises:
          UserError: as of :meth:`parse`.

        Example:
          >>> both = CallText.parse_sum("bag", "list + dict(a=1)", {
          ...     "list": list, "dict": lambda *, a: {"a": a}})
          >>> [call.build() for call in both]
          [[], {'a': 1}]
        """
        calls = _parse(what, text)
        if any(call.inner for call in calls):
            raise _unreadable(what, text)
        for call in calls:
            _check_options(what, call, registry, 0)
        return tuple(
            cls(call.name, call.options, _entry(what, call.name, registry))
            for call in calls
        )

    @property
    def text(self) -> str:
        """Itself as a text that reads the same."""
        options = ", ".join(f"{name}={value!r}" for name, value in self.options.items())
        return f"{self.name}({options})"

    def build(self, *arguments: Any, **given: Any) -> Any:
        """Calls the function; what is given takes the place of the text's options."""
        return self.function(*arguments, **{**self.options, **given})


def joined_texts(
    what: str, text: str, name: str, function: Callable[..., Any]
) -> tuple[tuple[str, ...], Mapping[str, Any]] | None:
    """The texts inside of ``name(text, ..., option=value)``, and the options.

    Args:
      what: what is being named, for the error.
      text: as above, or another.
      name: the one that stands around several texts.
      function: behind the name; its keyword arguments are the options.

    Returns:
      None for a text that does not start with that name.

    Raises:
      UserError: for a text that can't be read, or an option that there is not.

    Example:
      >>> def join(*texts, pool=False): ...
      >>> text = "join(npz(path='a'), digits, pool=True)"
      >>> joined_texts("data set", text, "join", join)
      (("npz(path='a')", 'digits'), {'pool': True})
      >>> joined_texts("data set", "npz(path='a')", "join", join)
    """
    try:
        node = ast.parse(as_python(text.strip()), mode="eval").body
        if not (isinstance(node, ast.Call) and ast.unparse(node.func) == name):
            return None
        options = {str(k.arg): ast.literal_eval(k.value) for k in node.keywords}
    except (SyntaxError, ValueError):
        raise _unreadable(what, text) from None
    _check_options(what, _Call(name, (), options), {name: function}, 1)
    return tuple(as_text(ast.unparse(each)) for each in node.args), options


def every_method(*known: str) -> tuple[str, ...]:
    """The names of all methods that need no option but those already known.

    Example:
      >>> "mgda" in every_method(), "single_task" in every_method()
      (True, False)
    """
    return tuple(
        name
        for name, method in METHODS.items()
        if not set(_required(method)[1:]) - set(known)
    )


@dataclasses.dataclass(frozen=True)
class _Call:
    """One name of a composition: what it wraps, and its options."""

    name: str
    inner: "tuple[_Call, ...]"
    options: dict[str, Any]

    def with_options(self, options: Mapping[str, Mapping[str, Any]]) -> "_Call":
        """With those of its name, and of the names inside."""
        inner = tuple(call.with_options(options) for call in self.inner)
        return _Call(self.name, inner, {**self.options, **options.get(self.name, {})})


def _check_stages(stages: tuple[_Call, ...], known: tuple[str, ...]) -> None:
    """Transformations, then an aggregator."""
    *transforms, last = stages
    for stage in transforms:
        if stage.name in METHODS or stage.name in WRAPPERS:
            raise UserError(
                f"{stage.name!r} stands before a '+', but sums the task gradients: "
                f"expected transformations of them there ({', '.join(TRANSFORMS)})"
            )
        _check_options("transformation", stage, TRANSFORMS, 1)
        _expect_nothing_in(stage)
    if last.name in TRANSFORMS:
        raise UserError(
            f"{last.name!r} transforms task gradients, and nothing sums them: write "
            f'"{last.name} + mgda", or another method after it'
        )
    _check_aggregator(last, known)


def _check_aggregator(call: _Call, known: tuple[str, ...]) -> None:
    """A method, or a wrapper around an aggregator."""
    if call.name not in WRAPPERS:
        _check_options("method", call, {**METHODS, **WRAPPERS}, 1, known)
        return _expect_nothing_in(call)
    _check_options("wrapper", call, WRAPPERS, 1)
    stages = [stage.name for stage in call.inner]
    if len(stages) != 1 or stages[0] in TRANSFORMS:
        before = [name for name in stages if name in TRANSFORMS]
        inside = next((name for name in stages if name not in TRANSFORMS), "mgda")
        instead = " + ".join([*before, f"{call.name}({inside})"])
        raise UserError(f'{call.name!r} wraps one method alone: write "{instead}"')
    (inner,) = call.inner
    return _check_aggregator(inner, known)


def _expect_nothing_in(stage: _Call) -> None:
    if stage.inner:
        raise UserError(
            f"{stage.name!r} got {stage.inner[-1].name!r} to wrap: expected options by "
            f"name alone; wrappers are {', '.join(WRAPPERS)}"
        )


def _build_aggregator(
    call: _Call, num_tasks: int, known: Mapping[str, Any]
) -> optax.GradientTransformationExtraArgs:
    if call.name in WRAPPERS:
        inner = _build_aggregator(call.inner[0], num_tasks, known)
        return WRAPPERS[call.name](inner, **call.options)
    function = _entry("method", call.name, METHODS)
    given = {name: known[name] for name in _required(function)[1:] if name in known}
    made = function(num_tasks, **{**given, **call.options})
    if not isinstance(made, Aggregator):
        raise UserError(
            f"method {call.name!r} made a {type(made).__name__}: expected what "
            "mtopt.weighting or mtopt.Aggregator makes"
        )
    return made


def _check_options(
    what: str,
    call: _Call,
    registry: Registry,
    num_arguments: int,
    given: tuple[str, ...] = (),
) -> None:
    """Raises unless the name is known, and has these options and needs no others."""
    name = call.name
    function = _entry(what, name, registry)
    parameters = inspect.signature(function).parameters
    free = list(parameters)[num_arguments:]
    for option in call.options:
        if option not in free:
            hint = nearest(option, free) if free else "it takes no options"
            raise UserError(f"{what} {name!r} has no option {option!r}: {hint}")
    required = _required(function)[num_arguments:]
    missing = [p for p in required if p not in call.options and p not in given]
    if missing:
        inside = [stage.name for stage in call.inner[-1:]]
        example = ", ".join(inside + [f"{p}=..." for p in missing])
        raise UserError(
            f'{what} {name!r} needs {" and ".join(missing)}: write "{name}({example})"'
        )


def _entry(what: str, name: str, registry: Registry) -> Callable[..., Any]:
    """What a registry has under a name, or a module of the user's.

    Raises:
      UserError: for a name that is in neither.
    """
    if is_imported(name):
        return imported(what, name)
    if name not in registry:
        raise UserError(f"no {what} {name!r}: {nearest(name, list(registry))}")
    return registry[name]


def _required(function: Callable[..., Any]) -> list[str]:
    """The names of the parameters without a default."""
    parameters = inspect.signature(function).parameters.values()
    rest = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
    return [p.name for p in parameters if p.default is p.empty and p.kind not in rest]


def _parse(what: str, text: str) -> tuple[_Call, ...]:
    """The stages of ``text``, one where it has no ``+``.

    Raises:
      UserError: unless it is made of names and calls with literal keyword arguments.
    """
    try:
        return _stages(ast.parse(as_python(text.strip()), mode="eval").body)
    except (SyntaxError, ValueError):
        raise _unreadable(what, text) from None


def _stages(node: ast.expr) -> tuple[_Call, ...]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _stages(node.left) + _stages(node.right)
    call = node if isinstance(node, ast.Call) else ast.Call(node, [], [])
    options = {k.arg: ast.literal_eval(k.value) for k in call.keywords}
    if not isinstance(call.func, ast.Name) or None in options or len(call.args) > 1:
        raise ValueError
    inner = tuple(stage for argument in call.args for stage in _stages(argument))
    named = {str(option): value for option, value in options.items()}
    return (_Call(as_text(call.func.id), inner, named),)


def _unreadable(what: str, text: str) -> UserError:
    return UserError(
        f"cannot read the {what} {text!r}: expected a name, or a name with options as "
        "in mgda(normalize='l2')"
    )
