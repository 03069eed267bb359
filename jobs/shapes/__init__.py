"""`shapes`: a synthetic, labelled image data set for training, tests, load tests and the demo.

Fourteen classes of plain shapes, most of them easy to tell, with a tail that needs a finer look.
Two ways in: `render` gives one picture in memory, `write_shapes` writes an archive of real files
(some of them damaged on purpose) together with the truth about each. Everything follows from a
seed: the same call gives the same pixels on every machine.

Knows Pillow, NumPy and PyArrow; neither torch nor Ray.
"""

from jobs.shapes.archive import WrittenArchive, write_shapes
from jobs.shapes.classes import CLASSES
from jobs.shapes.factors import FACTOR_NAMES, Factors
from jobs.shapes.paint import Sample, label_of, render

__all__ = [
    "CLASSES",
    "FACTOR_NAMES",
    "Factors",
    "Sample",
    "WrittenArchive",
    "label_of",
    "render",
    "write_shapes",
]
