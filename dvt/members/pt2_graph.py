"""Makes a `Program` of the graph in a `torch.export` archive.

Shapes: S pixels per side.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from dvt.errors import CheckpointError
from dvt.members.network import damage_in_one_line
from dvt.members.pt2_archive import DTYPES, Pt2Archive
from dvt.members.pt2_operators import Name, bind_arguments, find_operator, names_in
from dvt.members.pt2_program import Call, Program, ProgramInput

__all__ = ["make_program"]

_SOFTMAXES = {"softmax", "_softmax"}
# Position of the data among the arguments of a classifier.
_CLASSIFIERS = {"linear": 0, "addmm": 1, "mm": 0, "matmul": 0}


def make_program(archive: Pt2Archive, image_size: int) -> Program:
    """The program of an archive.

    Args:
        archive: read.
        image_size: S.

    Raises:
        CheckpointError: the program is damaged, hostile or not supported.
    """
    with damage_in_one_line():
        return _make(archive, image_size)


def _make(archive: Pt2Archive, image_size: int) -> Program:
    tensors: dict[str, Tensor] = {}
    images: list[str] = []
    for spec in archive.signature["input_specs"]:
        ((kind, fields),) = spec.items()
        if kind == "user_input":
            images.append(fields["arg"]["as_tensor"]["name"])
            continue
        key = {"parameter": "parameter_name", "buffer": "buffer_name"}.get(kind)
        key = key or {"tensor_constant": "tensor_constant_name"}[kind]
        tensors[fields["arg"]["name"]] = archive.tensors[fields[key]]
    if len(images) != 1:
        raise CheckpointError(f"inputs: must be one, the images (got {len(images)})")
    outputs: list[str] = []
    for spec in archive.signature["output_specs"]:
        ((kind, fields),) = spec.items()
        if kind != "user_output":
            raise CheckpointError(
                f"writes to its buffers ({kind}); call model.eval() before the export"
            )
        outputs.append(fields["arg"]["as_tensor"]["name"])
    if len(outputs) != 1:
        raise CheckpointError(f"outputs: must be one, the logits (got {len(outputs)})")
    calls = [call for node in archive.graph["nodes"] for call in _calls(node)]
    described = archive.graph["tensor_values"]
    logits, embedding = _logits_and_embedding(calls, outputs[0], described)
    _free_unused(calls, {logits, embedding or logits, *tensors})
    return Program(calls, tensors, _images(images[0], described, image_size), logits, embedding)


def _images(name: str, described: Mapping[str, Any], size: int) -> ProgramInput:
    sides = [side.get("as_int") for side in described[name]["sizes"]]
    wanted = (3, size, size)
    is_fitting = len(sides) == 4 and all(
        side in (None, want) for side, want in zip(sides[1:], wanted, strict=True)
    )
    dtype = DTYPES[described[name]["dtype"]]
    if not is_fitting or not dtype.is_floating_point:
        shown = ", ".join("?" if side is None else str(side) for side in sides)
        raise CheckpointError(
            f"input: must be floating-point [batch, 3, {size}, {size}] (got {dtype} [{shown}])"
        )
    return ProgramInput(name, sides[0], dtype)


def _calls(node: Mapping[str, Any]) -> list[Call]:
    """The call of a node; none if the node only checks sizes."""
    called = find_operator(node["target"])
    if called is None:
        return []
    args, kwargs = bind_arguments(called, node["inputs"])
    outputs = []
    for output in node["outputs"]:
        ((kind, fields),) = output.items()
        several = fields if kind == "as_tensors" else [fields]
        outputs += [field["name"] if "name" in field else field["as_name"] for field in several]
    is_single = len(node["outputs"]) == 1 and "as_tensors" not in node["outputs"][0]
    return [Call(called, args, kwargs, outputs, is_single, [])]


def _logits_and_embedding(
    calls: Sequence[Call], output: str, described: Mapping[str, Any]
) -> tuple[str, str | None]:
    """Names of the logits, before a final softmax, and of the classifier's input."""
    producers = {call.outputs[0]: call for call in calls if call.is_single}
    logits, last = output, producers.get(output)
    if last is not None and last.operator.name == "sigmoid":
        raise CheckpointError(
            "the output is a sigmoid for several labels an image; allowed are logits or a softmax "
            "over the classes"
        )
    if last is not None and last.operator.name in _SOFTMAXES:
        logits = last.args[0].name
        last = producers.get(logits)
    if last is None or last.operator.name not in _CLASSIFIERS:
        return logits, None
    source = last.args[_CLASSIFIERS[last.operator.name]]
    is_vector = isinstance(source, Name) and len(described[source.name]["sizes"]) == 2
    return logits, source.name if is_vector else None


def _free_unused(calls: Sequence[Call], kept: set[str]) -> None:
    """Notes after which call each value is not needed any more."""
    seen = set(kept)
    for call in reversed(calls):
        used = {name for item in (call.args, *call.kwargs.values()) for name in names_in(item)}
        call.unused = sorted(({*used, *call.outputs}) - seen)
        seen |= used | set(call.outputs)
