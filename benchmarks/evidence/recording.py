"""`record`: every model over held-out and test pictures, to full depth, in float32.

A record that is there already, of the same weights and pictures, is kept as it is.
"""

import json
from argparse import Namespace
from pathlib import Path

import torch

import dvt
from benchmarks.evidence.models import ALL_MODELS, is_trained
from benchmarks.evidence.picture_sets import PictureSets
from benchmarks.evidence.records import DataFacts, Exits, ModelFacts, Record, file_of
from benchmarks.evidence.results import publish
from dvt.device import best_device
from dvt.inference import StageExecutor, exit_scores, make_executor
from dvt.loading.checkpoint import model_digest
from jobs.datasets import LabelledPictures
from pipeline.errors import UsageError

__all__ = ["record"]

_BATCH_SIZE = 128


def record(given: Namespace) -> None:
    """Makes the records of all models that are there."""
    records, pictures = [], PictureSets()
    for name in ALL_MODELS:
        folder = given.models / name
        if not is_trained(folder):
            print(f"left out: {folder} holds no finished training", file=given.messages)
            continue
        records.append(_recorded(name, folder, given, pictures))
    if not records:
        raise UsageError(
            f"models: must be a folder with at least one of {', '.join(ALL_MODELS)} "
            f"(got {given.models})"
        )
    figures = {
        one.facts.name: {
            **one.facts.model_dump(mode="json", exclude={"name", "validation", "test"}),
            "accuracy_validation": one.validation.accuracy_per_exit,
            "accuracy_test": one.test.accuracy_per_exit,
            "agreement_test": [float(value) for value in one.test.agrees.mean(axis=1)],
        }
        for one in records
    }
    publish("record", {"recorded": figures}, [one.facts for one in records], given)


def _recorded(name: str, folder: Path, given: Namespace, pictures: PictureSets) -> Record:
    model = dvt.load_model(folder)
    digest = model_digest(model)
    validation, validation_facts = pictures.validation(folder, model)
    test, test_facts = pictures.test(given, model)
    path = file_of(given.records, name)
    facts = _facts(name, folder, model, digest, validation_facts, test_facts)
    if path.is_file() and (kept := Record.load(path)).facts == facts:
        return kept
    print(f"recording {name}", file=given.messages)
    executor = make_executor(model, best_device(), torch.float32)
    made = Record(facts, _exits(executor, validation), _exits(executor, test))
    made.save(path)
    return made


def _exits(executor: StageExecutor, pictures: LabelledPictures) -> Exits:
    scores = exit_scores(executor, pictures.pixels, _BATCH_SIZE)
    return Exits.of_scores(scores, pictures.labels, pictures.keys)


def _facts(
    name: str,
    folder: Path,
    model: dvt.Cascade,
    digest: str,
    validation: DataFacts,
    test: DataFacts,
) -> ModelFacts:
    config = model.config
    epochs, seconds = _training(folder / "training" / "curve.jsonl")
    return ModelFacts(
        name=name,
        preset=config.name,
        digest=digest,
        dtype="float32",
        classes=model.labels or tuple(map(str, range(config.num_classes))),
        num_parameters=sum(weight.numel() for weight in model.parameters()),
        tokens=tuple(grid.size for grid in config.grids),
        gmacs_per_exit=dvt.gmacs_per_exit(config),
        thresholds=model.calibration.thresholds,
        feature_reuse=config.feature_reuse,
        relation_reuse=config.relation_reuse,
        num_epochs=epochs,
        train_seconds=seconds,
        validation=validation,
        test=test,
    )


def _training(curve: Path) -> tuple[int | None, float | None]:
    """Epochs and seconds of a training, as far as it told."""
    if not curve.is_file():
        return None, None
    epochs = [json.loads(line) for line in curve.read_text(encoding="utf-8").splitlines()]
    return len(epochs), round(sum(epoch["seconds"] for epoch in epochs), 1)
