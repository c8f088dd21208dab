"""The words in which a face describes its operations, and how they look in OpenAPI 3.0."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

Schema = Mapping[str, Any]
"""A JSON schema, as far as OpenAPI 3.0 takes it."""

Status = int | Literal["default"]

PROBLEM_TYPE: Final = "application/problem+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A part of the request beside its body. What lies in the path is always required."""

    name: str
    place: Literal["path", "query", "header"]
    schema: Schema
    about: str
    required: bool = False

    def to_json(self) -> dict[str, Any]:
        """As it stands in the document."""
        return {
            "name": self.name,
            "in": self.place,
            "required": self.required or self.place == "path",
            "description": self.about,
            "schema": dict(self.schema),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """The body of a request."""

    schema: Schema
    about: str = ""
    media: str = "application/json"
    required: bool = True
    example: Any = None

    def to_json(self) -> dict[str, Any]:
        """As it stands in the document."""
        media: dict[str, Any] = {"schema": dict(self.schema)}
        if self.example is not None:
            media["example"] = self.example
        body: dict[str, Any] = {"required": self.required, "content": {self.media: media}}
        return {"description": self.about, **body} if self.about else body


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A response that is no problem: its media types with the schema of each (none: no body), and its headers.

    `links` says which of its fields are parameters of which operations: {operation: {parameter: expression}}.
    """

    about: str
    content: Mapping[str, Schema] = field(default_factory=dict)
    headers: Mapping[str, Schema] = field(default_factory=dict)
    links: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As it stands in the document."""
        answer: dict[str, Any] = {"description": self.about}
        if self.headers:
            answer["headers"] = {name: {"schema": dict(schema)} for name, schema in self.headers.items()}
        if self.content:
            answer["content"] = {media: {"schema": dict(schema)} for media, schema in self.content.items()}
        if self.links:
            answer["links"] = {
                operation: {"operationId": operation, "parameters": dict(parameters)}
                for operation, parameters in self.links.items()
            }
        return answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path. `problems` are the statuses of its refusals; `needs_key`: without a key it is 401.

    An answer named "default" may have any status; then refusals look as it does.
    """

    method: str
    path: str
    id: str
    summary: str
    answers: Mapping[Status, Answer]
    about: str = ""
    parameters: tuple[Parameter, ...] = ()
    body: Body | None = None
    problems: tuple[int, ...] = ()
    needs_key: bool = True

    @property
    def route(self) -> tuple[str, str]:
        """Method and path, by which it is known."""
        return self.method, self.path

    def to_json(self, tag: str) -> dict[str, Any]:
        """As it stands in the document, in the group `tag`."""
        shown: dict[str, Any] = {"tags": [tag], "operationId": self.id, "summary": self.summary}
        if self.about:
            shown["description"] = self.about
        if self.parameters:
            shown["parameters"] = [parameter.to_json() for parameter in self.parameters]
        if self.body is not None:
            shown["requestBody"] = self.body.to_json()
        refused = {*self.problems, 401, 500} if self.needs_key and "default" not in self.answers else {*self.problems}
        every: dict[str, Any] = {
            str(status): {"$ref": f"#/components/responses/{problem_name(status)}"} for status in refused
        }
        every |= {str(status): answer.to_json() for status, answer in self.answers.items()}
        shown["responses"] = dict(sorted(every.items()))
        if not self.needs_key:
            shown["security"] = []
        return shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Face:
    """A group of operations. `schemas` gives what they refer to by name, when the document is built."""

    name: str
    about: str
    operations: tuple[Operation, ...]
    schemas: Callable[[], Mapping[str, Schema]] = dict


def also(operation: Operation, method: str, name: str) -> Operation:
    """The same operation under another method, where both are published."""
    return replace(operation, method=method, id=name, summary=f"{operation.summary} (as {operation.method})")


def problem_name(status: int) -> str:
    """The name under which the document keeps what it says of this refusal."""
    return f"Problem{status}"
