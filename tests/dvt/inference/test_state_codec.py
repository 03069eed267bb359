"""Encoded states: size, precision, and no copies."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

import dvt
from dvt.inference import StateFormat, decode_state, encode_state
from dvt.inference.state_codec import STATE_FORMATS
from dvt.reuse import StageState

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def state(
    tiny_cascade: Callable[..., dvt.Cascade], random_images: Callable[..., Tensor]
) -> StageState:
    with torch.inference_mode():
        found: StageState = tiny_cascade().stages[0](random_images(3)).state
    return found


def parts(state: StageState) -> tuple[Tensor, Tensor]:
    assert state.features is not None
    assert state.relations is not None
    return state.features, state.relations


def test_float32_is_lossless(state: StageState) -> None:
    decoded = decode_state(encode_state(state, "float32"), CPU, torch.float32)
    for before, after in zip(parts(state), parts(decoded), strict=True):
        assert torch.equal(before, after)


def test_bfloat16_rounds_like_torch(state: StageState) -> None:
    decoded = decode_state(encode_state(state, "bfloat16"), CPU, torch.float32)
    for before, after in zip(parts(state), parts(decoded), strict=True):
        assert torch.equal(before.bfloat16().float(), after)


def test_int8_errs_by_at_most_half_a_step_of_the_row(state: StageState) -> None:
    """A step is the row's largest value / 127, itself rounded to 8 bits of mantissa (0.4 %)."""
    decoded = decode_state(encode_state(state, "int8"), CPU, torch.float32)
    before, after = parts(state)[1], parts(decoded)[1]
    largest = before.abs().amax(dim=-1, keepdim=True)
    assert ((before - after).abs() <= largest * (0.5 / 127 * 1.01 + 2**-8)).all()
    assert not torch.equal(before.bfloat16().float(), after)
    assert torch.equal(parts(decoded)[0], parts(state)[0].bfloat16().float())


def test_a_row_of_zeros_stays_zero() -> None:
    state = StageState(None, torch.zeros(2, 1, 3, 3))
    decoded = decode_state(encode_state(state, "int8"), CPU, torch.float32)
    assert decoded.relations is not None
    assert decoded.relations.abs().max() == 0


@pytest.mark.parametrize("state_format", STATE_FORMATS)
@pytest.mark.parametrize("missing", ["features", "relations"])
def test_parts_that_are_not_reused_are_not_encoded(
    state: StageState, state_format: StateFormat, missing: str
) -> None:
    features, relations = parts(state)
    half = StageState(None, relations) if missing == "features" else StageState(features, None)
    decoded = decode_state(encode_state(half, state_format), CPU, torch.float32)
    assert getattr(decoded, missing) is None
    kept = {"features", "relations"} - {missing}
    assert all(getattr(decoded, name) is not None for name in kept)


def test_bfloat16_is_encoded_and_decoded_without_a_copy(state: StageState) -> None:
    """Also for read-only arrays, as from the object store, and without warnings."""
    halved = state.to(CPU, torch.bfloat16)
    encoded = encode_state(halved, "bfloat16")
    for tensor, array in zip(parts(halved), (encoded.features, encoded.relations), strict=True):
        assert array is not None
        assert array.dtype == np.int16
        assert array.ctypes.data == tensor.data_ptr()
        array.flags.writeable = False
    decoded = decode_state(encoded, CPU, torch.bfloat16)
    for before, after in zip(parts(halved), parts(decoded), strict=True):
        assert before.data_ptr() == after.data_ptr()


@pytest.mark.parametrize(("state_format", "limit_bytes"), [("bfloat16", 270e3), ("int8", 150e3)])
def test_encoded_sizes_of_t2t_vit_12(state_format: StateFormat, limit_bytes: float) -> None:
    """49 * 256 features and 48 * 50 * 50 logits; with int8 also 48 * 50 scales."""
    state = StageState(torch.zeros(1, 49, 256), torch.zeros(48, 1, 50, 50))
    assert 0.9 * limit_bytes < encode_state(state, state_format).num_bytes <= limit_bytes
