"""A cascade of models: inputs, class orders, temperatures, carried logits, state on the wire."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import dvt
from dvt.config import CascadeConfig, Preprocess
from dvt.errors import CheckpointError
from dvt.inference import decode_state, encode_state, state_bytes
from dvt.inference.executor import StageExecutor
from dvt.loading import load_model, save_model
from dvt.members.cascade import ExitConfig, MemberCascade, MemberConfig, MembersConfig
from dvt.members.inputs import InputBox, shared_input
from dvt.reuse import StageState
from dvt.stage import StageOutput

CLASSES = ("ant", "bee", "cat", "dog", "elk")
ORDER = (4, 2, 0, 1, 3)
SHUFFLED = tuple(CLASSES[ORDER.index(number)] for number in range(5))

TinyCascade = Callable[..., dvt.Cascade]


def configuration(*exits: ExitConfig, order: tuple[int, ...] | None = None) -> MembersConfig:
    return MembersConfig(
        name="pair",
        members=(
            MemberConfig(source="1-small", class_order=order),
            MemberConfig(source="2-large"),
        ),
        exits=exits,
    )


@pytest.fixture
def members(tiny_cascade: TinyCascade) -> tuple[dvt.Cascade, dvt.Cascade]:
    """Two DVTs of several stages, the first with its classes in another order."""
    first, second = tiny_cascade(0), tiny_cascade(1)
    first.labels, second.labels = SHUFFLED, CLASSES
    return first, second


def pixels_for(model: dvt.Model, num: int = 6) -> Tensor:
    size = model.spec.image_size
    values = np.random.default_rng(0).integers(0, 256, (num, size, size, 3), dtype=np.uint8)
    return torch.from_numpy(values)


def run_all(executor: StageExecutor, pixels: Tensor, batch_size: int) -> list[StageOutput]:
    outputs: list[StageOutput] = []
    state: StageState | None = None
    for stage in range(executor.spec.num_stages):
        output = executor.run(stage, pixels, state, batch_size)
        outputs.append(output)
        state = None if output.state is None else StageState.join([output.state])
    return outputs


def test_exits_scale_reorder_and_carry_logits(members: tuple[dvt.Cascade, dvt.Cascade]) -> None:
    first, second = members
    num_first, num_second = first.spec.num_stages, second.spec.num_stages
    exits = [ExitConfig(temperature=2.0)] * num_first
    exits += [ExitConfig(temperature=0.5, carry=0.4)] + [ExitConfig()] * (num_second - 1)
    cascade = MemberCascade(configuration(*exits, order=ORDER), members, CLASSES)
    pixels = pixels_for(cascade)
    outputs = run_all(cascade.make_executor(), pixels, 8)
    own = [run_all(model.make_executor(), pixels, 8) for model in (first, second)]
    for output, expected in zip(outputs, own[0], strict=False):
        torch.testing.assert_close(output.logits, expected.logits[:, list(ORDER)] / 2)
    carried = own[1][0].logits / 0.5 + 0.4 * outputs[num_first - 1].logits
    torch.testing.assert_close(outputs[num_first].logits, carried)
    torch.testing.assert_close(outputs[-1].logits, own[1][-1].logits)
    assert cascade.spec.num_stages == num_first + num_second
    full_depth = first.spec.gmacs_per_exit[-1] + second.spec.gmacs_per_exit[-1]
    assert cascade.spec.gmacs_per_exit[-1] == pytest.approx(full_depth)
    assert cascade.spec.last_member == (second.spec.name, second.spec.gmacs_per_exit[-1])


def test_state_between_members_survives_the_wire_to_the_last_bit(
    members: tuple[dvt.Cascade, dvt.Cascade],
) -> None:
    num_stages = sum(model.spec.num_stages for model in members)
    exits = [ExitConfig()] + [ExitConfig(carry=0.3)] * (num_stages - 1)
    cascade = MemberCascade(configuration(*exits), members, CLASSES)
    executor = cascade.make_executor()
    pixels = pixels_for(cascade)
    for stage, output in enumerate(run_all(executor, pixels, 8)[:-1]):
        assert output.state is not None
        encoded = encode_state(output.state, "float32")
        size = state_bytes(cascade.spec.stages[stage].state, "float32")
        assert encoded.num_bytes == len(pixels) * size
        back = decode_state(encoded, torch.device("cpu"), torch.float32)
        there = executor.run(stage + 1, pixels, back, 8).logits.clone()
        assert torch.equal(there, executor.run(stage + 1, pixels, output.state, 8).logits)


def test_predict_equals_the_executors_answers(members: tuple[dvt.Cascade, dvt.Cascade]) -> None:
    exits = [ExitConfig()] * sum(model.spec.num_stages for model in members)
    cascade = MemberCascade(configuration(*exits), members, CLASSES)
    pixels = pixels_for(cascade)
    mean, std = cascade.spec.preprocess.mean, cascade.spec.preprocess.std
    images = (pixels.permute(0, 3, 1, 2) / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(
        std
    ).view(3, 1, 1)
    never = (2.0,) * (len(exits) - 1)
    prediction = cascade.predict(images, never, batch_size=8)
    last = run_all(cascade.make_executor(), pixels, 8)[-1].logits
    assert torch.equal(prediction.labels, last.argmax(dim=1))
    assert torch.equal(cascade(images)[-1].argmax(dim=1), last.argmax(dim=1))
    assert prediction.exit_stages.tolist() == [len(exits)] * len(pixels)


@pytest.mark.parametrize(
    ("sizes", "shared", "boxes"),
    [
        (((160, 183), (224, 256)), 224, (224, 224)),  # equal shares but for rounding
        (((224, 248), (224, 256)), 231, (231, 224)),  # the first sees 0.9 of the picture
        (((224, 256), (224, 248)), 231, (224, 231)),
        (((48, 48), (32, 36)), 48, (48, 43)),
    ],
)
def test_pixels_are_decoded_for_the_member_that_needs_most(
    sizes: tuple[tuple[int, int], ...],
    shared: int,
    boxes: tuple[int, ...],
    tiny_config: Callable[..., CascadeConfig],
) -> None:
    base = dvt.Cascade(tiny_config()).spec

    def spec(size: int, resize: int) -> dvt.ModelSpec:
        preprocess = Preprocess(resize=resize)
        return dvt.ModelSpec(base.name, base.num_classes, size, preprocess, base.stages)

    found, _, inputs = shared_input([spec(*pair) for pair in sizes])
    assert found == shared
    assert tuple(box.side for box in inputs) == boxes
    pixels = torch.randint(0, 256, (2, found, found, 3), dtype=torch.uint8)
    assert [box.apply(pixels).shape[1] for box in inputs] == [size for size, _ in sizes]


def test_an_input_does_not_depend_on_its_batch() -> None:
    pixels = torch.randint(0, 256, (5, 64, 64, 3), dtype=torch.uint8)
    box = InputBox(64, 40, "bicubic")
    assert torch.equal(box.apply(pixels)[3:4], box.apply(pixels[3:4]))


def write(folder: Path, config: object, members: tuple[dvt.Cascade, dvt.Cascade]) -> Path:
    for name, model in zip(("1-small", "2-large"), members, strict=True):
        save_model(model, folder / name)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "labels.json").write_text(json.dumps(CLASSES))
    return folder


def test_a_folder_loads_as_one_model(
    tmp_path: Path, members: tuple[dvt.Cascade, dvt.Cascade]
) -> None:
    exits = [ExitConfig()] * sum(model.spec.num_stages for model in members)
    config = configuration(*exits, order=ORDER)
    cascade = load_model(write(tmp_path / "pair", config.model_dump(mode="json"), members))
    assert cascade.labels == CLASSES
    assert cascade.digest() == MemberCascade(config, members).digest()
    save_model(dvt.Cascade(members[0].config), tmp_path / "pair" / "1-small")
    assert load_model(tmp_path / "pair").digest() != cascade.digest()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"members": []}, "members: .*at least 1"),
        ({"exits": [{}]}, "exits: must be .* one a stage of the members .got 1"),
        ({"exits": [{"temperature": 0}]}, "exits.0.temperature: must be above 0"),
        ({"exits": [{"carry": 0.5}]}, "exits.0.carry: must be 0"),
        ({"members": [{"source": "../1-small"}]}, "members.0.source: must be inside the folder"),
        ({"members": [{"source": "."}]}, "members.0.source: must be inside the folder"),
        # Its folder is the cascade's: loading it would never end.
        ({"members": [{"source": "model.safetensors"}]}, "source: must be inside the folder"),
        ({"members": [{"source": "/tmp"}]}, "members.0.source: must be inside the folder"),
        ({"members": [{"source": "missing"}]}, "missing' not found"),
        (
            {"members": [{"source": "1-small", "class_order": [0, 0, 1]}, {"source": "2-large"}]},
            "members.0.class_order: must name 3 different classes of 5",
        ),
        ({"kind": "mixture"}, "kind: "),
    ],
)
def test_a_faulty_configuration_is_named_in_one_line(
    changes: dict[str, object],
    message: str,
    tmp_path: Path,
    members: tuple[dvt.Cascade, dvt.Cascade],
) -> None:
    exits = [ExitConfig()] * sum(model.spec.num_stages for model in members)
    config = configuration(*exits).model_dump(mode="json") | changes
    folder = write(tmp_path / "pair", config, members)
    (folder / "model.safetensors").touch()
    with pytest.raises(CheckpointError, match=message) as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)
