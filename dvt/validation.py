"""Pydantic models that cross a boundary: files, command line, JSON."""

import re

from pydantic import BaseModel, ConfigDict, ValidationError

__all__ = ["FrozenModel", "first_problem"]

_LONGEST_VALUE = 100  # characters of a received value that an error message repeats
# Pydantic's words, and those of this project.
_WORDING = {
    r"^Value error, ": "",
    r"^Extra inputs are not permitted$": "unknown",
    r"^Field required$": "missing",
    r", unable to .*": "",
    r"^Input should be (an? )?(valid )?": "must be ",
    r"^must be integer$": "must be a whole number",
    r"^must be number$": "must be a number",
    r"^must be finite number$": "must be a finite number",
    r"^must be boolean$": "must be true or false",
    r"^must be string$": "must be text",
    r"^must be (tuple|list|array)$": "must be a list",
    r"^must be (dictionary|object)$": "must be a mapping",
    r"greater than or equal to": "at least",
    r"less than or equal to": "at most",
    r"greater than": "above",
    r"less than": "below",
}


class FrozenModel(BaseModel):
    """Base of immutable models that reject unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def first_problem(error: ValidationError) -> str:
    """The first problem of a pydantic error in one line: field, what is allowed, value received."""
    problem = error.errors()[0]
    field = ".".join(str(part) for part in problem["loc"]) or "configuration"
    message = problem["msg"]
    for theirs, ours in _WORDING.items():
        message = re.sub(theirs, ours, message)
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
