"""What a person runs: one module a job, and a thin command line over them."""
