"""The output: its tables, the lease on them, what is done, and the files beside them."""
