"""The parameters of a saga or an action: read from a function once, then bound to the arguments of each call."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.definition.plan import Path
from orchestrator.definition.redacted import redacted_paths
from orchestrator.definition.static_types import name_of
from orchestrator.definition.values import check_type
from orchestrator.errors import DefinitionError


class _Required:
    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED: Any = _Required()
"""The default of a parameter that has none."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter: its type (``Any`` where none is written), its default, and whether only a name reaches it."""

    type: Any = Any
    default: Any = REQUIRED
    keyword_only: bool = False

    @property
    def required(self) -> bool:
        """Whether a call must give it."""
        return self.default is REQUIRED


def read_signature(
    function: Callable[..., Any],
    what: str,
    *,
    skip: Iterable[str] = (),
    names: Mapping[str, Any] | None = None,
) -> tuple[dict[str, Parameter], Any]:
    """The parameters of a function by name, and its return type (``Any`` where none is written).

    ``what`` names the function in errors; ``skip`` are parameters that are no data (an injected session); ``names``
    are local names that annotations may use. Raises ``DefinitionError`` for ``*args``, ``**kwargs``, annotations
    that can't be resolved and types that have no JSON form.
    """
    hints = read_hints(function, what, names=names)
    skipped = frozenset(skip)
    parameters = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if name in skipped:
            continue
        if parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}:
            raise DefinitionError(
                f"{what}: {parameter} can't be recorded; give every parameter a name"
            )
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise DefinitionError(
                f"{what}: parameter {name!r} must not be positional-only: it travels by name"
            )
        type_ = hints.get(name, Any)
        check_type(type_, f"{what}: parameter {name!r}")
        default = REQUIRED if parameter.default is parameter.empty else parameter.default
        parameters[name] = Parameter(type_, default, parameter.kind is parameter.KEYWORD_ONLY)
    returns = hints.get("return", Any)
    check_type(returns, f"{what}: the result")
    return parameters, returns


def read_hints(
    function: Callable[..., Any], what: str, *, names: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """A function's annotations, resolved. Raises ``DefinitionError`` naming the one that can't be."""
    try:
        return typing.get_type_hints(function, localns=dict(names or {}), include_extras=True)
    except NameError as error:
        raise DefinitionError(
            f"{what}: the annotation {error.name!r} can't be resolved; import it outside `if TYPE_CHECKING:` "
            "and define it before the function"
        ) from error
    except TypeError as error:
        raise DefinitionError(f"{what}: an annotation can't be resolved: {error}") from error


def redacted_parameters(parameters: Mapping[str, Parameter]) -> tuple[Path, ...]:
    """Where arguments for these parameters have what nobody is shown."""
    return tuple(
        (name, *path)
        for name, parameter in parameters.items()
        for path in redacted_paths(parameter.type)
    )


def bind(
    parameters: Mapping[str, Parameter], args: tuple[Any, ...], kwargs: Mapping[str, Any], what: str
) -> dict[str, Any]:
    """The arguments by parameter name, without defaults filled in.

    Raises ``TypeError`` that names what is missing, unknown or too much, and shows the signature.
    """
    signature = inspect.Signature([_as_inspected(name, p) for name, p in parameters.items()])
    try:
        return dict(signature.bind(*args, **kwargs).arguments)
    except TypeError as error:
        raise TypeError(f"{what}: {error}; it is {what}({_shown(parameters)})") from error


def _as_inspected(name: str, parameter: Parameter) -> inspect.Parameter:
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY
        if parameter.keyword_only
        else inspect.Parameter.POSITIONAL_OR_KEYWORD,
        default=inspect.Parameter.empty if parameter.required else parameter.default,
    )


def _shown(parameters: Mapping[str, Parameter]) -> str:
    parts = []
    starred = False
    for name, parameter in parameters.items():
        if parameter.keyword_only and not starred:
            parts.append("*")
            starred = True
        default = "" if parameter.required else f" = {parameter.default!r}"
        parts.append(f"{name}: {name_of(parameter.type)}{default}")
    return ", ".join(parts)
