"""The whole way of an image beside its two halves, and which of them is the bottleneck.

    python -m benchmarks.whole FOLDER --model shapes --copies 20 --out benchmarks/results/whole.json

    fetch + decode   of all pictures in FOLDER on one core, times the decoders of the job
    model            the cascade alone on decoded pixels, with the job's threads and exits
    whole            `dvt tag` from the first image listed to the last one committed, start of Ray
                     and its actors included

FOLDER's pictures are listed `--copies` times under different keys.
"""

import argparse
import csv
import json
import subprocess
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import dvt
from benchmarks.reporting import report
from dvt.device import best_device, inference_dtype
from dvt.inference import make_executor
from pipeline.cascade.runner import CascadeRunner
from pipeline.decoding import decode
from pipeline.runtime.resource_plan import decode_settings, plan_job
from pipeline.settings import TagSettings
from pipeline.sources import read_file

DVT = Path(sysconfig.get_path("scripts")) / "dvt"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="of pictures that can all be read")
    parser.add_argument("--model", default="shapes")
    parser.add_argument("--copies", type=int, default=20)
    parser.add_argument("--out", type=Path, help="keep the results in this file too")
    return parser.parse_args()


def main() -> None:
    given = arguments()
    uris = [path.resolve().as_uri() for path in sorted(given.folder.iterdir()) if path.is_file()]
    model = dvt.load_model(given.model)
    settings = TagSettings(input=(str(given.folder),), out="", model=given.model)
    dtype = str(inference_dtype(best_device())).removeprefix("torch.")
    plan = plan_job(settings, model.config, model.thresholds(), dtype)
    images = decode_all(uris, model)
    per_core = images["images_s_core"]
    model_images_s = model_alone(model, plan.pools[0].num_threads, images.pop("pixels"))
    whole = run_whole(given, uris)
    decoding_images_s = per_core * plan.num_decoders
    figures: dict[str, Any] = {
        "model": given.model,
        "images": whole["images"],
        "decoders": plan.num_decoders,
        "model_threads": plan.pools[0].num_threads,
        "fetch_and_decode_images_s_core": per_core,
        "fetch_and_decode_images_s": decoding_images_s,
        "model_images_s": model_images_s,
        "whole_images_s": whole["images_per_second"],
        "exits": whole["exits"],
        "bottleneck": "fetch + decode" if decoding_images_s < model_images_s else "model",
    }
    report(figures, given)


def decode_all(uris: list[str], model: dvt.Cascade) -> dict[str, Any]:
    """Decodes all, on one core."""
    settings = decode_settings(model.config)
    started = time.process_time()
    pixels = [decode(read_file(uri, settings.max_bytes), settings).pixels for uri in uris]
    seconds = time.process_time() - started
    return {"images_s_core": len(uris) / seconds, "pixels": np.stack(pixels)}


def model_alone(model: dvt.Cascade, num_threads: int, pixels: Any) -> float:
    """Images a second of the runner in this process."""
    torch.set_num_threads(num_threads)
    device = best_device()
    executor = make_executor(model, device, inference_dtype(device))
    images_s = 0.0
    for _ in range(3):  # the first warms up
        runner = CascadeRunner(executor, model.thresholds(), 64, top_k=5)
        started = time.perf_counter()
        runner.add(np.arange(len(pixels)), pixels)
        runner.flush()
        images_s = len(pixels) / (time.perf_counter() - started)
    return images_s


def run_whole(given: argparse.Namespace, uris: list[str]) -> dict[str, Any]:
    """The JSON line of `dvt tag` on a list of all copies."""
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / "pictures.csv"
        with listed.open("w", newline="", encoding="utf-8") as stream:
            rows = csv.writer(stream)
            rows.writerow(["uri", "key"])
            for copy in range(given.copies):
                rows.writerows([uri, f"{copy:04d}/{n:06d}"] for n, uri in enumerate(uris))
        done = subprocess.run(
            [DVT, "tag", listed, "--out", Path(folder) / "out", "--model", given.model, "--json"],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    content: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return content


if __name__ == "__main__":
    main()
