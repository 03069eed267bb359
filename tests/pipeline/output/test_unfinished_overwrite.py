"""`--overwrite` that is killed at any moment leaves nothing that passes for a result."""

from pathlib import Path

from pipeline.output.layout import Output
from tests.pipeline.output.fake_run import run_file
from tests.pipeline.output.fake_tagging import KEYS, check_is_whole, tag
from tests.pipeline.output.killing import Killed, end_lease, killed_at


def test_the_next_plain_run_finishes_an_overwrite_that_was_killed_at_any_step(
    tmp_path: Path,
) -> None:
    for step in range(100):
        folder = tmp_path / f"{step}"
        tag(folder, 0.2, "first")
        with killed_at(step) as was_killed:
            try:
                # Looser thresholds, which the results of the first run would refuse.
                Output(folder).claim(run_file(thresholds=(0.1,)), overwrite=True)
            except Killed:
                end_lease(folder)
        if not was_killed():
            assert step > 8
            return
        has_begun = (folder / ".overwriting").exists()
        done, _ = tag(folder, 0.2, "second")
        assert set(done) == (set(KEYS) if has_begun else set()), step
        check_is_whole(folder, 0.2)
    raise AssertionError("every run was killed")
