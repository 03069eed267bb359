"""`shapes`: a synthetic, labelled image data set for training, tests and the demo.

Fourteen classes of plain shapes, most of them easy to recognise, some of them hard. `render` paints
one image in memory; `write_shapes` writes an archive of image files, some damaged on purpose, with
the expected result of each. The same seed gives the same pixels on every machine.

Uses Pillow, NumPy and PyArrow; neither torch nor Ray.
"""

from jobs.shapes.archive import WrittenArchive, write_shapes
from jobs.shapes.classes import CLASSES
from jobs.shapes.paint import Sample, label_of, render

__all__ = ["CLASSES", "Sample", "WrittenArchive", "label_of", "render", "write_shapes"]
