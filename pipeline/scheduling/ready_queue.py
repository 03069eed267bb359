"""A line of parts that wait: first come, first served, or the first whose data is on a node."""

from collections import OrderedDict

from pipeline.scheduling.blocks import BlockSlice

__all__ = ["ReadyQueue"]


class ReadyQueue:
    """Every operation takes the same time, however many parts wait."""

    def __init__(self) -> None:
        self._parts: OrderedDict[BlockSlice, None] = OrderedDict()
        self._on_node: dict[str, OrderedDict[BlockSlice, None]] = {}
        self.num_images = 0

    def __len__(self) -> int:
        return len(self._parts)

    def __contains__(self, part: BlockSlice) -> bool:
        return part in self._parts

    def push(self, part: BlockSlice, first: bool = False) -> None:
        """Adds a part behind all others, or before them."""
        lines = [self._parts]
        if part.block.node is not None:
            lines.append(self._on_node.setdefault(part.block.node, OrderedDict()))
        for line in lines:
            line[part] = None
            if first:
                line.move_to_end(part, last=False)
        self.num_images += part.num_open

    def remove(self, part: BlockSlice) -> None:
        """Takes a part out of the line."""
        del self._parts[part]
        node = part.block.node
        if node is not None:
            line = self._on_node[node]
            del line[part]
            if not line:
                del self._on_node[node]
        self.num_images -= part.num_open

    def first(self) -> BlockSlice:
        """Who came first."""
        return next(iter(self._parts))

    def first_on(self, node: str | None) -> BlockSlice | None:
        """Who came first of those whose data is on this node."""
        line = None if node is None else self._on_node.get(node)
        return None if line is None else next(iter(line))
