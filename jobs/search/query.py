"""What is searched for, and the filters as SQL of LanceDB."""

from typing import Annotated

from pydantic import Field

from jobs.index.lance_table import list_of, text
from pipeline.options import Options, Texts

__all__ = ["FilterOptions", "condition"]


class FilterOptions(Options):
    """Filters."""

    label: Annotated[Texts, Field(description="only images with this label; may be repeated")] = ()
    group: Annotated[Texts, Field(description="only images in this group; may be repeated")] = ()
    min_confidence: Annotated[
        float | None, Field(ge=0, le=1, description="least confidence of the label, from 0 to 1")
    ] = None
    exit: Annotated[
        int | None, Field(ge=1, description="only images that left at this exit, from 1")
    ] = None
    folder: Annotated[
        str | None, Field(description="only images whose key lies below this folder")
    ] = None
    where: Annotated[
        str | None,
        Field(description="condition in SQL on any column, e.g. width >= 1000"),
    ] = None


def condition(filters: FilterOptions, *others: str) -> str | None:
    """The filters as one condition; None if there are none.

    Args:
        filters: by which images are left out.
        others: further conditions.
    """
    parts = [f"({other})" for other in others]
    if filters.label:
        parts.append(f"label IN {list_of(filters.label)}")
    if filters.group:
        parts.append(f"array_has_any(groups, [{list_of(filters.group)[1:-1]}])")
    if filters.min_confidence is not None:
        parts.append(f"confidence >= {filters.min_confidence}")
    if filters.exit is not None:
        parts.append(f"exit_stage = {filters.exit}")
    if filters.folder:
        parts.append(f"starts_with(key, {text(filters.folder.strip('/') + '/')})")
    if filters.where:
        parts.append(f"({filters.where})")
    return " AND ".join(parts) or None
