"""Any network as a stage: kinds of models besides the DVT, and cascades of them.

`pixel_model` is their base, `cascade` composes models into one, `inputs` gives each its pixels.
"""
