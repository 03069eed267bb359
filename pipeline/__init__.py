"""The Ray engine: sources, decode, queues, actors, ledger and sinks; knows no commands."""
