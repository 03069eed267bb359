"""The cascade inside one actor, without Ray.

`runner` runs the stages over full batches (`batches`) that `staged_queue` forms, applies the exit
rule and survives `device_errors`; `open_rows` finds each prediction's image again, `tag_rows` makes
rows of `tags`, `stage_work` counts each stage's images and seconds. `options` has the job's
options.
"""
