"""The Ray side of a job; everything it decides is decided by `pipeline.scheduling`.

`resource_plan` lays a job out on the machine, `ray_session` starts Ray or joins a cluster
(`ray_cluster` checks it first), `launch` starts the `coordinator`, which executes the scheduler's
actions: it takes shards from the `worklist`, calls the `actors` in its `actor_pools` through the
`supervisor`, which detects lost actors by `ray_errors`, and lets `result_writer` commit. `nodes`
names draining nodes, `signals` defers Ctrl-C, `run_record` and `hardware` fill in `run.json`.
"""
