"""Runs a `torch.export` program: a list of calls of ATen operators.

Only operators of ATen and arithmetic on sizes are called, with arguments that are tensors, numbers
and a few words; that leaves no operator with access to files, and none that runs Python code.

Shapes: B images, S pixels per side, C classes, D width of the embedding.
"""

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dvt.errors import CheckpointError
from dvt.members.network import LARGEST_TENSOR, damage_in_one_line, one_line
from dvt.members.pt2_archive import DTYPES, Pt2Archive
from dvt.members.pt2_cost import call_macs

__all__ = ["Program", "ProgramInput", "make_program"]

_ATEN = re.compile(r"torch\.ops\.aten\.([A-Za-z]\w*|_\w+)\.(\w+)")
# Operators that begin with an underscore are internal; exported programs contain these.
_INTERNAL = {
    "_adaptive_avg_pool2d",
    "_log_softmax",
    "_native_batch_norm_legit_no_training",
    "_safe_softmax",
    "_softmax",
    "_to_copy",
    "_unsafe_view",
    "_upsample_bilinear2d_aa",
    "_upsample_bicubic2d_aa",
}
_IGNORED = re.compile(r"torch\.ops\.aten\.(_assert\w*|sym_constrain\w*)\.\w+")
_ARITHMETIC = {"add", "sub", "mul", "floordiv", "mod", "neg", "pow", "eq", "ne", "lt", "le", "gt"}
_ARITHMETIC |= {"ge", "getitem", "truediv"}
_WORDS = {"approximate", "equation", "indexing", "mode", "padding", "reduction", "rounding_mode"}
_SOFTMAXES = {"softmax", "_softmax"}
# Position of the data among the arguments of a classifier.
_CLASSIFIERS = {"linear": 0, "addmm": 1, "mm": 0, "matmul": 0}
_MEMORY_FORMATS = {1: torch.contiguous_format, 2: torch.channels_last, 4: torch.preserve_format}


@dataclass(frozen=True, slots=True)
class _Name:
    """An argument that is a value of the program."""

    name: str


@dataclass(slots=True)
class _Call:
    """A call.

    Attributes:
        operator: without namespace and overload.
        function: to call.
        args: by position.
        kwargs: by name.
        outputs: names of the results; of one result, or of the items of several.
        is_single: whether the function returns one result.
        unused: values that no later call needs.
    """

    operator: str
    function: Callable[..., Any]
    args: list[Any]
    kwargs: dict[str, Any]
    outputs: list[str]
    is_single: bool
    unused: list[str]


class ProgramInput(NamedTuple):
    """The images of a program.

    Attributes:
        name: of the value.
        batch_size: B if the program has a fixed one.
        dtype: of the images.
    """

    name: str
    batch_size: int | None
    dtype: torch.dtype


class Program(nn.Module):
    """A program with its tensors.

    Attributes:
        images: its input.
        logits: name of the value.
        embedding: name of the classifier's input; None if it is not found.
    """

    def __init__(
        self,
        calls: Sequence[_Call],
        tensors: Mapping[str, Tensor],
        images: ProgramInput,
        logits: str,
        embedding: str | None,
    ) -> None:
        super().__init__()
        self.images, self.logits, self.embedding = images, logits, embedding
        self._calls, self._names = calls, list(tensors)
        for number, tensor in enumerate(tensors.values()):
            self.register_buffer(f"tensor_{number}", tensor)

    def forward(self, images_B3SS: Tensor) -> list[Tensor]:
        """Logits [B, C] and, if there is one, embedding [B, D]."""
        return self._run(images_B3SS, list(self.buffers()))

    @torch.inference_mode()
    def measure(self, images_B3SS: Tensor) -> tuple[int, list[Tensor]]:
        """Runs once, and counts the MACs of the batch; returns both.

        Raises:
            CheckpointError: the program cannot run, or a tensor is too large.
        """
        macs = 0

        def count(call: _Call, args: Sequence[Any], results: Sequence[Any]) -> None:
            nonlocal macs
            macs += call_macs(call.operator, args, results[0])
            _check_sizes(results)

        try:
            outputs = self._run(images_B3SS, list(self.buffers()), count)
        except CheckpointError:
            raise
        except Exception as error:
            raise CheckpointError(
                f"cannot run on a batch of {len(images_B3SS)}: {one_line(error)}"
            ) from error
        return macs, outputs

    def _run(
        self,
        images_B3SS: Tensor,
        tensors: Sequence[Tensor],
        watch: Callable[[_Call, Sequence[Any], Sequence[Any]], None] | None = None,
    ) -> list[Tensor]:
        values: dict[str, Any] = dict(zip(self._names, tensors, strict=True))
        values[self.images.name] = images_B3SS
        device = images_B3SS.device
        for call in self._calls:
            args = [_value(argument, values, device) for argument in call.args]
            kwargs = {key: _value(item, values, device) for key, item in call.kwargs.items()}
            if watch is not None:
                _check_asked(args)
            result = call.function(*args, **kwargs)
            results = [result] if call.is_single else result
            if watch is not None:
                watch(call, args, results)
            values.update(zip(call.outputs, results, strict=True))
            for name in call.unused:
                del values[name]
        names = [self.logits] if self.embedding is None else [self.logits, self.embedding]
        return [values[name] for name in names]


def _check_asked(args: Sequence[Any]) -> None:
    """Refuses sizes that are too large, before anything is allocated."""
    sizes = [item for item in args if isinstance(item, list)]
    if not (args and isinstance(args[0], Tensor)):  # a new tensor, such as a range
        sizes += [[item] for item in args]
    for size in sizes:
        whole = [abs(side) for side in size if isinstance(side, int)]
        if len(whole) == len(size) and prod(whole) > LARGEST_TENSOR:
            raise CheckpointError(
                f"a tensor must have at most {LARGEST_TENSOR} values (got {whole[:6]})"
            )


def _check_sizes(results: Sequence[Any]) -> None:
    for result in results:
        if isinstance(result, Tensor) and result.numel() > LARGEST_TENSOR:
            raise CheckpointError(
                f"a tensor must have at most {LARGEST_TENSOR} values (got {list(result.shape)})"
            )


def _value(argument: Any, values: Mapping[str, Any], device: torch.device) -> Any:
    if isinstance(argument, _Name):
        return values[argument.name]
    if isinstance(argument, list):
        return [_value(item, values, device) for item in argument]
    # Tensors that the program makes are where its images are.
    return device if isinstance(argument, torch.device) else argument


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
    nodes = archive.graph["nodes"]
    calls = [_call(node, set(tensors)) for node in nodes if not _IGNORED.fullmatch(node["target"])]
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


def _call(node: Mapping[str, Any], constants: set[str]) -> _Call:
    target = node["target"]
    name, function = _function(target)
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for given in node["inputs"]:
        value = _argument(given["name"], given["arg"])
        if given.get("kind") == 2:  # keyword
            kwargs[given["name"]] = value
        else:
            args.append(value)
    if name.endswith("_") and isinstance(args[0], _Name) and args[0].name in constants:
        raise CheckpointError(f"operator {name}: writes to a weight; call model.eval() first")
    if _is_random(name, function, args):
        raise CheckpointError(f"operator {name}: is random; call model.eval() before the export")
    outputs = []
    for output in node["outputs"]:
        ((kind, fields),) = output.items()
        several = fields if kind == "as_tensors" else [fields]
        outputs += [field["name"] if "name" in field else field["as_name"] for field in several]
    is_single = len(node["outputs"]) == 1 and "as_tensors" not in node["outputs"][0]
    return _Call(name, function, args, kwargs, outputs, is_single, [])


def _function(target: str) -> tuple[str, Callable[..., Any]]:
    """Name of an operator, and the operator."""
    if found := _ATEN.fullmatch(target):
        name, overload = found.groups()
        packet = getattr(torch.ops.aten, name, None)
        if packet is not None and (name[0] != "_" or name in _INTERNAL):
            return name, getattr(packet, overload)
    module, _, name = target.partition(".")
    if module == "_operator" and name in _ARITHMETIC:
        return name, getattr(operator, name)
    raise CheckpointError(f"operator {target[:100]!r}: not allowed")


def _is_random(name: str, function: Callable[..., Any], args: Sequence[Any]) -> bool:
    if name == "dropout":
        return bool(args[2])
    tags = getattr(function, "tags", ())
    return torch.Tag.nondeterministic_seeded in tags and name != "scaled_dot_product_attention"


def _argument(name: str, argument: Mapping[str, Any]) -> Any:
    """An argument as `_value` takes it."""
    ((kind, value),) = argument.items()
    match kind:
        case "as_none":
            return None
        case "as_tensor":
            return _Name(value["name"])
        case "as_tensors":
            return [_Name(item["name"]) for item in value]
        case "as_optional_tensors":
            return [
                _Name(item["as_tensor"]["name"]) if "as_tensor" in item else None for item in value
            ]
        case "as_int" | "as_float" | "as_bool" | "as_ints" | "as_floats" | "as_bools":
            return _numbers(value)
        case "as_sym_int" | "as_sym_bool" | "as_sym_float":
            return _symbol(value)
        case "as_sym_ints" | "as_sym_bools" | "as_sym_floats":
            return [_symbol(item) for item in value]
        case "as_scalar_type":
            return DTYPES[value]
        case "as_device":
            return torch.device("cpu")
        case "as_layout" if value == 7:
            return torch.strided
        case "as_memory_format":
            return _MEMORY_FORMATS[value]
        case "as_string" if name in _WORDS:
            return str(value)
    raise CheckpointError(f"argument {name!r}: {kind} is not allowed")


def _numbers(value: Any) -> Any:
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    if isinstance(value, str):  # infinities and NaN
        return float(value)
    if not isinstance(value, int | float):
        raise TypeError(f"no number: {type(value).__name__}")
    return value


def _symbol(value: Mapping[str, Any]) -> Any:
    ((kind, item),) = value.items()
    return _Name(item) if kind == "as_name" else _numbers(item)


def _logits_and_embedding(
    calls: Sequence[_Call], output: str, described: Mapping[str, Any]
) -> tuple[str, str | None]:
    """Names of the logits, before a final softmax, and of the classifier's input."""
    producers = {call.outputs[0]: call for call in calls if call.is_single}
    logits, last = output, producers.get(output)
    if last is not None and last.operator == "sigmoid":
        raise CheckpointError(
            "the output is a sigmoid for several labels an image; allowed are logits or a softmax "
            "over the classes"
        )
    if last is not None and last.operator in _SOFTMAXES:
        logits = last.args[0].name
        last = producers.get(logits)
    if last is None or last.operator not in _CLASSIFIERS:
        return logits, None
    source = last.args[_CLASSIFIERS[last.operator]]
    is_vector = isinstance(source, _Name) and len(described[source.name]["sizes"]) == 2
    return logits, source.name if is_vector else None


def _free_unused(calls: Sequence[_Call], kept: set[str]) -> None:
    """Notes after which call each value is not needed any more."""
    seen = set(kept)
    for call in reversed(calls):
        used = {name for item in (call.args, *call.kwargs.values()) for name in _names(item)}
        call.unused = sorted(({*used, *call.outputs}) - seen)
        seen |= used | set(call.outputs)


def _names(argument: Any) -> list[str]:
    if isinstance(argument, _Name):
        return [argument.name]
    if isinstance(argument, list):
        return [name for item in argument for name in _names(item)]
    return []
