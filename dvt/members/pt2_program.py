"""Runs a `torch.export` program: a list of calls of ATen operators.

`pt2_operators` lists the operators; `pt2_graph` makes a program of an archive. A program first runs
without memory (on torch's device "meta"), so that a tensor that is too large is never allocated.

Shapes: B images, S pixels per side, C classes, D width of the embedding.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dvt.errors import CheckpointError
from dvt.members.network import LARGEST_TENSOR, one_line
from dvt.members.pt2_cost import call_macs
from dvt.members.pt2_operators import Name, Operator

__all__ = ["Call", "Program", "ProgramInput"]


@dataclass(slots=True)
class Call:
    """A call.

    Attributes:
        operator: to call.
        args: by position.
        kwargs: by name.
        outputs: names of the results; of one result, or of the items of several.
        is_single: whether the function returns one result.
        unused: values that no later call needs.
    """

    operator: Operator
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
        calls: Sequence[Call],
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
        """Runs without memory, then once; returns the MACs of the batch, and the outputs.

        Raises:
            CheckpointError: the program cannot run, or a tensor is too large.
        """
        macs = 0

        def count(call: Call, args: Sequence[Any], results: Sequence[Any]) -> None:
            nonlocal macs
            _check_sizes(results)
            macs += call_macs(call.operator.name, args, results[0])

        try:
            shapes = [tensor.to("meta") for tensor in self.buffers()]
            self._run(images_B3SS.to("meta"), shapes, count)
            outputs = self(images_B3SS)
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
        watch: Callable[[Call, Sequence[Any], Sequence[Any]], None] | None = None,
    ) -> list[Tensor]:
        values: dict[str, Any] = dict(zip(self._names, tensors, strict=True))
        values[self.images.name] = images_B3SS
        kept = {_memory(tensor) for tensor in values.values()}
        device = images_B3SS.device
        for call in self._calls:
            args = [_value(argument, values, device) for argument in call.args]
            kwargs = {key: _value(item, values, device) for key, item in call.kwargs.items()}
            if call.operator.is_in_place and _memory(args[0]) in kept:
                raise CheckpointError(
                    f"operator {call.operator.name}: writes to a weight or to the images; "
                    "call model.eval() before the export"
                )
            result = call.operator.function(*args, **kwargs)
            results = [result] if call.is_single else result
            if watch is not None:
                watch(call, args, results)
            values.update(zip(call.outputs, results, strict=True))
            for name in call.unused:
                del values[name]
        names = [self.logits] if self.embedding is None else [self.logits, self.embedding]
        return [values[name] for name in names]


def _memory(tensor: Tensor) -> int:
    """Identifies the memory of a tensor, which its views share."""
    identity: int = tensor.untyped_storage()._cdata
    return identity


def _check_sizes(results: Sequence[Any]) -> None:
    for result in results:
        if isinstance(result, Tensor) and result.numel() > LARGEST_TENSOR:
            raise CheckpointError(
                f"a tensor must have at most {LARGEST_TENSOR} values (got {list(result.shape)})"
            )


def _value(argument: Any, values: Mapping[str, Any], device: torch.device) -> Any:
    if isinstance(argument, Name):
        return values[argument.name]
    if isinstance(argument, list):
        return [_value(item, values, device) for item in argument]
    # Tensors that the program makes are where its images are.
    return device if isinstance(argument, torch.device) else argument
