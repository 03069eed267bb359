"""A first-in-first-out queue of block slices that also finds the first one on a given node."""

from collections import OrderedDict

from pipeline.scheduling.blocks import BlockSlice

__all__ = ["ReadyQueue"]


class ReadyQueue:
    """Every operation takes constant time."""

    def __init__(self) -> None:
        self._slices: OrderedDict[BlockSlice, None] = OrderedDict()
        self._on_node: dict[str, OrderedDict[BlockSlice, None]] = {}
        self.num_images = 0

    def __len__(self) -> int:
        return len(self._slices)

    def __contains__(self, block_slice: BlockSlice) -> bool:
        return block_slice in self._slices

    def push(self, block_slice: BlockSlice, first: bool = False) -> None:
        """Adds a slice at the end, or at the front."""
        queues = [self._slices]
        if block_slice.block.node is not None:
            queues.append(self._on_node.setdefault(block_slice.block.node, OrderedDict()))
        for queue in queues:
            queue[block_slice] = None
            if first:
                queue.move_to_end(block_slice, last=False)
        self.num_images += block_slice.num_pending

    def remove(self, block_slice: BlockSlice) -> None:
        """Removes a slice, wherever it is."""
        del self._slices[block_slice]
        node = block_slice.block.node
        if node is not None:
            del self._on_node[node][block_slice]
            if not self._on_node[node]:
                del self._on_node[node]
        self.num_images -= block_slice.num_pending

    def first(self) -> BlockSlice:
        """The slice at the front."""
        return next(iter(self._slices))

    def first_on(self, node: str | None) -> BlockSlice | None:
        """The first slice whose data is on this node."""
        queue = None if node is None else self._on_node.get(node)
        return None if queue is None else next(iter(queue))
