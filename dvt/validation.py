"""Pydantic models that cross a boundary: files, command line, JSON."""

from pydantic import BaseModel, ConfigDict, ValidationError

__all__ = ["FrozenModel", "first_problem"]

_LONGEST_VALUE = 100  # characters of a received value that an error message repeats


class FrozenModel(BaseModel):
    """Base of immutable models that reject unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def first_problem(error: ValidationError) -> str:
    """The first problem of a pydantic error in one line: field, what is allowed, value received."""
    problem = error.errors()[0]
    field = ".".join(str(part) for part in problem["loc"]) or "configuration"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error" and not problem["loc"]:  # from a validator of the model
        return message
    if problem["type"] == "missing":  # the input is the whole object
        return f"{field}: {message}"
    if message.endswith(")") and "(got " in message:
        return f"{field}: {message}"
    received = repr(problem["input"])
    if len(received) > _LONGEST_VALUE:
        received = received[:_LONGEST_VALUE] + "…"
    return f"{field}: {message} (got {received})"
