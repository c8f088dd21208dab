"""What a deployed function or class takes as plain JSON: the parameters of each call, as far as they can be checked."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from worker_runtime.wire.errors import WireError
from worker_runtime.wire.fields import require

KINDS = ("positional", "named", "either", "rest")
"""How a parameter may be filled: by place alone, by name alone, by both; "rest" is `**kwargs`, which takes any name."""

FUNCTION = ""
"""The name of the one call of a function; the calls of a class have the names of its public methods."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a call. `schema` is the JSON Schema of its values; empty where anything goes."""

    name: str
    kind: str = "either"  # one of KINDS
    required: bool = True
    schema: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "kind": self.kind, "required": self.required, "schema": dict(self.schema)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Parameter":
        kind = require(data, "kind", str)
        if kind not in KINDS:
            raise WireError(f"field 'kind' is {kind!r}; it must be one of {', '.join(map(repr, KINDS))}")
        return cls(
            name=require(data, "name", str),
            kind=kind,
            required=require(data, "required", bool),
            schema=require(data, "schema", dict, default={}),
        )


@dataclass(frozen=True, slots=True)
class Interface:
    """The parameters of each call by its name, and what the user's docstrings say of it."""

    calls: Mapping[str, tuple[Parameter, ...]]
    docs: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        calls = {name: [each.to_json() for each in parameters] for name, parameters in self.calls.items()}
        return {"calls": calls, "docs": dict(self.docs)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Interface":
        """Read what `to_json` wrote. Raises WireError."""
        calls = require(data, "calls", dict)
        if not all(isinstance(parameters, list) for parameters in calls.values()):
            raise WireError("field 'calls' must map names of calls to lists of parameters")
        read = {
            str(name): tuple(Parameter.from_json(each if isinstance(each, dict) else {}) for each in parameters)
            for name, parameters in calls.items()
        }
        docs = require(data, "docs", dict, default={})
        return cls(read, {str(name): str(text) for name, text in docs.items()})
