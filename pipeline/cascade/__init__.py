"""The cascade inside one actor, without Ray: stages, staged queue, exit rule, rows of `tags`."""
