"""Cascades made of models: their logits on pictures, which of them pay, and the folder.

`recording` runs all members on the same pictures and times them; `choice` fits temperatures and
carried logits for every subset of members and picks the fastest; `folder` writes the result.
"""
