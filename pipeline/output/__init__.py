"""The output directory: Delta tables, ledger, commits, lease, resume, status."""
