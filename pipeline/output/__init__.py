"""The output: its tables, who may write them, what is done, and the files beside them."""
