"""The Ray actors: thin shells round code that runs without Ray."""
