"""The operators that a `torch.export` program may call, and the arguments it may pass to them.

ATen has operators that open files (`from_file`), reuse memory (`set_`, `resize_`) or draw random
numbers. Those listed here compute tensors from tensors. Names and types of arguments come from
torch's schema, never from the file.
"""

import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from dvt.errors import CheckpointError
from dvt.members.pt2_archive import DTYPES

__all__ = ["Name", "Operator", "bind_arguments", "find_operator", "names_in"]

_ATEN = re.compile(r"torch\.ops\.aten\.(\w+)\.(\w+)")
_PYTHON = re.compile(r"_operator\.(\w+)")


def _set_of(names: str) -> frozenset[str]:
    return frozenset(names.split())


_ALLOWED = _set_of(
    # Convolutions and matrix products; `pt2_cost` counts their MACs.
    "conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d convolution linear "
    "addmm baddbmm bmm matmul mm scaled_dot_product_attention "
    # Normalisation.
    "batch_norm native_batch_norm _native_batch_norm_legit_no_training group_norm "
    "native_group_norm instance_norm layer_norm native_layer_norm linalg_vector_norm norm rms_norm "
    # Activations.
    "celu elu gelu glu hardsigmoid hardswish hardtanh leaky_relu log_sigmoid log_softmax "
    "_log_softmax mish prelu relu relu6 selu sigmoid silu _safe_softmax softmax _softmax softplus "
    "tanh threshold dropout feature_dropout native_dropout "
    # Arithmetic and comparison, element by element.
    "abs add addcdiv addcmul atan bitwise_and bitwise_not bitwise_or ceil clamp clamp_max "
    "clamp_min clip cos div eq erf exp expm1 floor floor_divide fmod ge gt isfinite isinf isnan le "
    "lerp log log1p log2 logical_and logical_not logical_or lt maximum minimum mul multiply ne neg "
    "pow reciprocal remainder round rsqrt rsub sign sin sqrt square sub true_divide trunc where "
    # Reductions.
    "all amax amin any argmax argmin cumsum max mean min prod std std_mean sum topk var var_mean "
    # Pooling and resizing.
    "adaptive_avg_pool1d adaptive_avg_pool2d _adaptive_avg_pool2d adaptive_avg_pool3d "
    "adaptive_max_pool2d avg_pool1d avg_pool2d avg_pool3d grid_sampler grid_sampler_2d im2col "
    "max_pool1d max_pool2d max_pool2d_with_indices pixel_shuffle pixel_unshuffle "
    "upsample_bicubic2d _upsample_bicubic2d_aa upsample_bilinear2d _upsample_bilinear2d_aa "
    "upsample_linear1d upsample_nearest1d upsample_nearest2d "
    # Shapes, layout and selection.
    "alias broadcast_tensors broadcast_to cat channel_shuffle chunk clone concat concatenate "
    "constant_pad_nd contiguous detach embedding expand expand_as flatten flip gather index "
    "index_select lift_fresh lift_fresh_copy masked_fill meshgrid movedim narrow numpy_T pad "
    "permute reflection_pad1d reflection_pad2d repeat replication_pad2d reshape reshape_as roll "
    "select slice split split_with_sizes squeeze stack swapaxes t tensor_split tile to _to_copy "
    "transpose tril triu type_as unbind unflatten unfold _unsafe_view unsqueeze view view_as "
    # New tensors and sizes.
    "arange full full_like linspace new_full new_ones new_zeros ones ones_like "
    "scalar_tensor sym_numel sym_size sym_stride zeros zeros_like"
)
# These write to their first argument. `Program` refuses them where that is a weight or the images.
_IN_PLACE = _set_of(
    "add_ clamp_ clamp_max_ clamp_min_ copy_ div_ dropout_ elu_ exp_ fill_ gelu_ hardsigmoid_ "
    "hardswish_ hardtanh_ leaky_relu_ masked_fill_ mish_ mul_ neg_ relu_ relu6_ selu_ sigmoid_ "
    "silu_ sub_ tanh_ zero_"
)
_IGNORED = re.compile(r"torch\.ops\.aten\.(_assert\w*|sym_constrain\w*)\.\w+")
_RANDOM = _set_of(
    "bernoulli bernoulli_ normal_ rand rand_like randint randn randn_like randperm uniform_"
)
# Exports contain it for constants; the other form writes nothing.
_REPLACED = {"detach_": "detach"}
_WORDS = {
    *(("conv1d", "padding"), ("conv2d", "padding"), ("div", "rounding_mode")),
    *(("div_", "rounding_mode"), ("gelu", "approximate"), ("gelu_", "approximate")),
    *(("meshgrid", "indexing"), ("pad", "mode")),
}
# Arguments that must be false in a network that only infers.
_TRAINING = ("train", "training")
_MEMORY_FORMATS = {1: torch.contiguous_format, 2: torch.channels_last, 4: torch.preserve_format}
_STRIDED = 7
_KEYWORD = 2
_LARGEST_SIZE = 2**63


class Name(NamedTuple):
    """An argument that is a value of the program."""

    name: str


class Operator(NamedTuple):
    """An operator.

    Attributes:
        name: without namespace and overload.
        function: to call.
        is_in_place: whether it writes to its first argument.
    """

    name: str
    function: Callable[..., Any]
    is_in_place: bool = False


def find_operator(target: str) -> Operator | None:
    """The operator of a node; None if the node only checks sizes.

    Raises:
        CheckpointError: it is not allowed.
    """
    if _IGNORED.fullmatch(target):
        return None
    if found := _ATEN.fullmatch(target):
        name, overload = found.groups()
        name = _REPLACED.get(name, name)
        if name in _RANDOM:
            raise CheckpointError(
                f"operator {name}: is random; call model.eval() before the export"
            )
        if name in _ALLOWED | _IN_PLACE:
            function = getattr(getattr(torch.ops.aten, name), overload, None)
            if isinstance(function, torch._ops.OpOverload) and _writes(function) == (
                [0] if name in _IN_PLACE else []
            ):
                return Operator(name, function, name in _IN_PLACE)
    found = _PYTHON.fullmatch(target)
    if found and found[1] in _ARITHMETIC:
        return Operator(found[1], _ARITHMETIC[found[1]])
    raise CheckpointError(f"operator {target[:100]!r}: not allowed")


def _writes(function: torch._ops.OpOverload[..., Any]) -> list[int]:
    """Positions of the arguments that an operator writes to."""
    return [
        position
        for position, argument in enumerate(function._schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    ]


def _arithmetic(function: Callable[..., Any]) -> Callable[..., Any]:
    """Arithmetic on sizes, whose numbers stay those of 64 bits."""

    def apply(*numbers: Any) -> Any:
        if not all(isinstance(number, int | float) for number in numbers):
            raise TypeError("arithmetic is on numbers only")
        if function is operator.pow and abs(numbers[1]) > 64:
            raise OverflowError("exponent too large")
        result = function(*numbers)
        if isinstance(result, int) and abs(result) > _LARGEST_SIZE:
            raise OverflowError("size too large")
        return result

    return apply


_ARITHMETIC = {
    name: _arithmetic(getattr(operator, name))
    for name in [
        "add",
        "sub",
        "mul",
        "floordiv",
        "mod",
        "neg",
        "pow",
        "eq",
        "ne",
        "lt",
        "le",
        "gt",
        "ge",
        "truediv",
    ]
} | {"getitem": operator.getitem}


def bind_arguments(
    called: Operator, inputs: Sequence[Mapping[str, Any]]
) -> tuple[list[Any], dict[str, Any]]:
    """Arguments by position and by name; values of the program as `Name`.

    Args:
        called: the operator.
        inputs: of its node.

    Raises:
        CheckpointError: an argument is not allowed.
    """
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    if not isinstance(called.function, torch._ops.OpOverload):
        return [_argument(called.name, "", given["arg"]) for given in inputs], kwargs
    declared = called.function._schema.arguments
    names = {argument.name for argument in declared}
    for given in inputs:
        name = given["name"]
        if given.get("kind") == _KEYWORD:
            if name not in names:
                raise CheckpointError(f"operator {called.name}: has no argument {name[:100]!r}")
            kwargs[name] = _argument(called.name, name, given["arg"])
        elif len(args) < len(declared):
            args.append(_argument(called.name, declared[len(args)].name, given["arg"]))
        else:
            raise CheckpointError(f"operator {called.name}: has {len(declared)} arguments")
    by_name = dict(zip((argument.name for argument in declared), args, strict=False)) | kwargs
    _check_inference(called.name, by_name)
    if "device" in names and "device" not in by_name:
        kwargs["device"] = torch.device("cpu")
    return args, kwargs


def _check_inference(name: str, arguments: Mapping[str, Any]) -> None:
    """Refuses random results, and statistics that a call would update."""
    is_training = any(arguments.get(key, False) is not False for key in _TRAINING)
    if arguments.get("use_input_stats", False) is not False:
        is_training |= arguments.get("running_mean") is not None
    if is_training:
        raise CheckpointError(
            f"operator {name}: is in training mode; call model.eval() before the export"
        )
    if arguments.get("dropout_p", 0) != 0:
        raise CheckpointError(f"operator {name}: is random; call model.eval() before the export")


def _argument(called: str, name: str, argument: Mapping[str, Any]) -> Any:
    ((kind, value),) = argument.items()
    match kind:
        case "as_none":
            return None
        case "as_tensor":
            return Name(value["name"])
        case "as_tensors":
            return [Name(item["name"]) for item in value]
        case "as_optional_tensors":
            return [
                Name(item["as_tensor"]["name"]) if "as_tensor" in item else None for item in value
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
        case "as_layout" if value == _STRIDED:
            return torch.strided
        case "as_memory_format":
            return _MEMORY_FORMATS[value]
        case "as_string" if (called, name) in _WORDS:
            return str(value)
    raise CheckpointError(f"operator {called}: argument {name!r}: {kind} is not allowed")


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
    return Name(item) if kind == "as_name" else _numbers(item)


def names_in(argument: Any) -> Iterator[str]:
    """Values of the program in an argument."""
    if isinstance(argument, Name):
        yield argument.name
    elif isinstance(argument, list):
        for item in argument:
            yield from names_in(item)
