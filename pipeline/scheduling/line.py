"""A line of parts that wait: first come, first served, or the first whose data is on a node."""

from collections import OrderedDict

from pipeline.scheduling.parcels import Part

__all__ = ["Line"]


class Line:
    """Every operation takes the same time, however many parts wait."""

    def __init__(self) -> None:
        self._parts: OrderedDict[Part, None] = OrderedDict()
        self._on_node: dict[str, OrderedDict[Part, None]] = {}
        self.num_images = 0

    def __len__(self) -> int:
        return len(self._parts)

    def __contains__(self, part: Part) -> bool:
        return part in self._parts

    def push(self, part: Part, first: bool = False) -> None:
        """Adds a part behind all others, or before them."""
        lines = [self._parts]
        if part.parcel.node is not None:
            lines.append(self._on_node.setdefault(part.parcel.node, OrderedDict()))
        for line in lines:
            line[part] = None
            if first:
                line.move_to_end(part, last=False)
        self.num_images += part.num_open

    def remove(self, part: Part) -> None:
        """Takes a part out of the line."""
        del self._parts[part]
        node = part.parcel.node
        if node is not None:
            line = self._on_node[node]
            del line[part]
            if not line:
                del self._on_node[node]
        self.num_images -= part.num_open

    def first(self) -> Part:
        """Who came first."""
        return next(iter(self._parts))

    def first_on(self, node: str | None) -> Part | None:
        """Who came first of those whose data is on this node."""
        line = None if node is None else self._on_node.get(node)
        return None if line is None else next(iter(line))
