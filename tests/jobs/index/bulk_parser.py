"""A strict parser of bulk bodies, after the rules in OpenSearch's and Elasticsearch's reference.

- A body is UTF-8; every line ends in a newline, the last one too; no line is empty.
- An action is one JSON object with one field: its name. `index` is followed by the document's line,
  `delete` by none.
- An `_id` has at most 512 bytes.
- JSON has no NaN or Infinity; a document's fields are those of the mapping (`dynamic: strict`),
  with values of their type, and vectors have their dimension and a direction.
"""

import json
from typing import Any

__all__ = ["load"]


def load(body: bytes, mapping: dict[str, Any], documents: dict[str, dict[str, Any]]) -> int:
    """Applies a body to the documents of an index, by id; returns the number of actions."""
    assert body.endswith(b"\n")
    lines = iter(body.decode("utf-8").split("\n")[:-1])
    num_actions = 0
    for line in lines:
        ((action, target),) = parsed(line).items()
        num_actions += 1
        assert set(target) == {"_id"}
        assert 0 < len(target["_id"].encode()) <= 512
        if action == "delete":
            documents.pop(target["_id"], None)
            continue
        assert action == "index"
        document = parsed(next(lines))
        check(document, mapping["properties"])
        documents[target["_id"]] = document
    return num_actions


def parsed(line: str) -> dict[str, Any]:
    assert line.strip()

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    content = json.loads(line, parse_constant=refuse)
    assert isinstance(content, dict)
    return content


def check(document: dict[str, Any], properties: dict[str, Any]) -> None:
    for name, value in document.items():
        field = properties[name]  # strict: no other fields
        if field["type"] in ("knn_vector", "dense_vector"):
            assert len(value) == field.get("dimension", field.get("dims"))
            assert any(value)
            continue
        for each in value if isinstance(value, list) else [value]:
            check_value(each, field["type"])


def check_value(value: Any, kind: str) -> None:
    if kind in ("keyword", "text"):
        assert isinstance(value, str)
    elif kind == "date":
        assert isinstance(value, str)
        assert value[4] == value[7] == "-"
    elif kind in ("byte", "integer", "long"):
        assert isinstance(value, int)
        assert abs(value) < 2 ** {"byte": 7, "integer": 31, "long": 63}[kind]
    else:
        assert kind in ("float", "double")
        assert isinstance(value, int | float)
