"""Any network as a stage: kinds of models besides the DVT, and cascades of them.

`pixel_model` is their base, `cascade` composes models into one, `inputs` gives each its pixels.
`onnx` (`onnx_file`, `onnx_limits`, `onnx_cost`, `onnx_session`) and `exported` (`pt2_archive`,
`pt2_graph`, `pt2_operators`, `pt2_program`, `pt2_cost`) run networks from files that are
untrusted; `network` is what both share.
"""
