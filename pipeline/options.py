"""How options are declared: once, in the room that uses them.

Each room declares its options as a class of frozen, validated fields with help text and default.
`pipeline.settings.TagSettings` inherits from all of them, so one object serves every room, and the
command line makes one flag of every field.
"""

from typing import Annotated, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict

__all__ = ["Names", "Options", "Texts"]

T = TypeVar("T", bound="Options")


class Options(BaseModel):
    """Base of all declared options: frozen; unknown names are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def part(self, declared: type[T]) -> T:
        """The options that one of the base classes declares, as an instance of that class.

        Its `model_fields_set` are those that were given here, too.
        """
        values = {name: getattr(self, name) for name in declared.model_fields}
        part = declared.model_validate(values)
        part.__pydantic_fields_set__.intersection_update(self.model_fields_set)
        return part


def _texts(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _names(value: object) -> object:
    values = _texts(value)
    if not isinstance(values, list | tuple) or not all(isinstance(text, str) for text in values):
        return values
    return tuple(name.strip() for text in values for name in text.split(",") if name.strip())


Texts = Annotated[tuple[str, ...], BeforeValidator(_texts)]
"""One text or several; a flag that may be repeated, a text or a list in YAML."""

Names = Annotated[tuple[str, ...], BeforeValidator(_names)]
"""Names separated by commas, as one text or several."""
