"""The Ray actors: thin shells around code that runs without Ray."""
