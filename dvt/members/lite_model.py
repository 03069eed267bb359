"""EfficientNet-Lite as a model of one stage: ONNX Runtime on the CPU, torch on a GPU.

A folder of it holds `config.json` (a `LiteConfig`) and at most an adapter; the weights themselves
come with a PyPI package. Shapes: B images, S pixels per side.
"""

import hashlib
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from dvt.config import Preprocess
from dvt.errors import CheckpointError
from dvt.inference.executor import StageExecutor
from dvt.labels.imagenet import class_names
from dvt.members.adapter import read_adapter
from dvt.members.efficientnet_lite import (
    CROP,
    NUM_CLASSES,
    PIXEL_MEAN,
    PIXEL_SCALE,
    EfficientNetLite,
    count_macs,
    load_efficientnet_lite,
    normalise_pixels,
)
from dvt.members.pixel_model import PixelModel
from dvt.model import ModelSpec, StageSpec
from dvt.reuse import StageState
from dvt.stage import StageOutput
from dvt.validation import FrozenModel

__all__ = ["LiteConfig", "LiteModel"]


class LiteConfig(FrozenModel):
    """`config.json` of an EfficientNet-Lite."""

    kind: Literal["efficientnet_lite"] = "efficientnet_lite"
    name: str
    network: Literal["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"]
    image_size: Annotated[int, Field(ge=32, le=512, description="side of the input, pixels")]
    adapter: Annotated[str | None, Field(description="file in the folder; null for none")] = None


class LiteModel(PixelModel):
    """An EfficientNet-Lite with ImageNet's classes.

    Args:
        config: of the model.
        folder: that holds the adapter; None where there is none.

    Raises:
        CheckpointError: the package with the weights is missing, or the adapter does not fit.
    """

    def __init__(self, config: LiteConfig, folder: Path | None = None) -> None:
        super().__init__(class_names())
        self.config = config
        self.network = load_efficientnet_lite(config.network)
        if config.adapter is not None:
            assert folder is not None
            path = folder / config.adapter
            if path.parent != folder:
                raise CheckpointError(
                    f"{folder}: adapter: must be a file name (got {config.adapter!r})"
                )
            read_adapter(path).apply(self.network)

    @property
    def spec(self) -> ModelSpec:
        """One stage; the paper's preprocessing."""
        size = self.config.image_size
        macs = count_macs(self.config.network, size)
        width = self.network.classifier.in_features
        preprocess = Preprocess(
            resize=round(size / CROP),
            mean=(PIXEL_MEAN / 255,) * 3,
            std=(PIXEL_SCALE / 255,) * 3,
        )
        stage = StageSpec(self.config.name, size, macs, macs, embedding_width=width)
        return ModelSpec(self.config.name, NUM_CLASSES, size, preprocess, (stage,))

    def digest(self) -> str:
        """Identifies the configuration and the weights, the adapter's included."""
        digest = hashlib.sha256(self.config.model_dump_json().encode())
        for key, value in sorted(self.network.state_dict().items()):
            digest.update(key.encode())
            digest.update(value.float().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    def inference_dtype(self, device: torch.device) -> torch.dtype:
        """ONNX Runtime computes in float32 on the CPU."""
        return torch.float32 if device.type == "cpu" else super().inference_dtype(device)

    def make_executor(
        self, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> StageExecutor:
        """As `Model.make_executor`."""
        device, dtype = device or torch.device("cpu"), dtype or torch.float32
        if device.type == "cpu":
            return _OnnxExecutor(self.spec, self.network, self.config.image_size)
        return _TorchLiteExecutor(self.spec, self.network, device, dtype)


class _OnnxExecutor(StageExecutor):
    def __init__(self, spec: ModelSpec, network: EfficientNetLite, image_size: int) -> None:
        # Late, because importing dvt should not take the half second that ONNX needs.
        from dvt.members.onnx_graph import onnx_graph
        from dvt.members.onnx_session import open_session

        super().__init__(spec, torch.device("cpu"), torch.float32)
        self._session = open_session(onnx_graph(network, image_size), torch.get_num_threads())

    def _forward(self, stage: int, pixels_BSS3: Tensor, upstream: StageState | None) -> StageOutput:
        pixels = pixels_BSS3.contiguous().numpy()
        logits, embedding = self._session.run(["logits", "embedding"], {"pixels": pixels})
        return StageOutput(torch.from_numpy(logits), torch.from_numpy(embedding), None)


class _TorchLiteExecutor(StageExecutor):
    def __init__(
        self, spec: ModelSpec, network: nn.Module, device: torch.device, dtype: torch.dtype
    ) -> None:
        super().__init__(spec, device, dtype)
        network = network.to(device=device, dtype=dtype).eval()
        self._network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _forward(self, stage: int, pixels_BSS3: Tensor, upstream: StageState | None) -> StageOutput:
        images = normalise_pixels(pixels_BSS3).to(self.dtype, memory_format=torch.channels_last)
        output = self._network(images)
        return StageOutput(output.logits, output.embedding, None)
