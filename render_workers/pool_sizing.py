"""How many workers a cluster has room for, when to give way to others, and what to say where there is too little.

Pure: `render_workers.ray_nodes` makes the view of a cluster that these functions judge. What a resource is called and
how a bundle of them looks is Ray's: `{"CPU": 1.0, "GPU": 0.5}`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from render_workers.pool_options import PoolOptions

Bundle = Mapping[str, float]
# Fractions of a GPU are floats: three times a third is a whole one.
ROUNDING = 1e-4
PATIENT_LOOKS = 3


@dataclass(frozen=True)
class Node:
    """A live node: what it has and what of it is free.

    Attributes:
        draining: whether it is being taken away.
        address: address of its host.
    """

    id: str
    total: Bundle
    free: Bundle
    labels: Mapping[str, str]
    draining: bool = False
    address: str = ""


@dataclass(frozen=True)
class ClusterView:
    """A cluster at one moment.

    Attributes:
        waiting: bundles that tasks and actors wait for, whoever's, and how often.
        launching: nodes that an autoscaler is starting.
        limits: what it can grow the cluster to, None where that is not known.
        exact: whether the nodes are the true ones, not the cluster's sums in the place of one node.
    """

    nodes: tuple[Node, ...]
    waiting: tuple[tuple[Bundle, int], ...] = ()
    launching: int = 0
    limits: Bundle | None = None
    exact: bool = True

    def lasting(self, selector: Mapping[str, str] | None = None) -> list[Node]:
        """Nodes that stay, and whose labels are as wanted."""
        return [node for node in self.nodes if not node.draining and has_labels(node, selector or {})]


@dataclass(frozen=True)
class Placed:
    """Workers of a pool.

    Attributes:
        by_node: workers with a process, counted by node.
        unplaced: workers without a process yet.
    """

    by_node: Mapping[str, int]
    unplaced: int


def has_labels(node: Node, selector: Mapping[str, str]) -> bool:
    """Return whether a node has the labels that a label selector of Ray asks for.

    Args:
        node: with its labels.
        selector: label -> `value`, `!value`, `in(a, b)` or `!in(a, b)`.
    """
    return all(_matches(node.labels.get(label), wanted) for label, wanted in selector.items())


def _matches(value: str | None, wanted: str) -> bool:
    negated, wanted = wanted.startswith("!"), wanted.removeprefix("!")
    several = wanted.startswith("in(") and wanted.endswith(")")
    choices = [choice.strip() for choice in wanted[3:-1].split(",")] if several else [wanted]
    return (value in choices) != negated


def how_many(free: Bundle, ask: Bundle) -> int:
    """Return how many bundles fit into the free resources; 0 for an empty bundle.

    Args:
        free: free amounts by resource.
        ask: amounts of one bundle.
    """
    return min((int(free.get(name, 0) / amount + ROUNDING) for name, amount in ask.items()), default=0)


def room(nodes: list[Node], view: ClusterView, ask: Bundle, placed: Placed) -> int:
    """Return how many workers the nodes can hold: those that they hold already, and those that still fit.

    Args:
        nodes: nodes to count on.
        view: what the cluster says of itself.
        ask: resources of one worker.
        placed: where the pool's workers are.
    """
    return housed(nodes, view, ask, placed) + sum(how_many(node.free, ask) for node in nodes)


def housed(nodes: list[Node], view: ClusterView, ask: Bundle, placed: Placed) -> int:
    """Return how many workers have found a place on the nodes, whether their process runs yet or not.

    Args:
        nodes: nodes to count on.
        view: what the cluster says of itself.
        ask: resources of one worker.
        placed: where the pool's workers are.
    """
    if not view.exact:
        return sum(placed.by_node.values())
    ids = {node.id for node in nodes}
    held = sum(count for node, count in placed.by_node.items() if node in ids)
    # An actor that Ray has found a place for takes it before its process answers, and waits for none.
    starting = placed.unplaced - min(placed.unplaced, _waiting_for(view, ask))
    return held + starting


def target_size(options: PoolOptions, room: int) -> int:
    """Return how many workers a pool should have.

    With `max_actors` given, a joined cluster is asked for one worker more than it has room for, so that an autoscaler
    starts a node for it. `actors` are always asked for.

    Args:
        options: of the pool.
        room: workers that the cluster can hold.
    """
    more = 1 if options.joined and options.max_actors is not None else 0
    return max(options.actors, int(min(options.most_actors, room + more)))


def crowded_out(view: ClusterView, ask: Bundle, placed: Placed) -> str | None:
    """Return the node on which others wait for resources that this pool's workers hold.

    Args:
        view: what the cluster says of itself, with the bundles that wait.
        ask: resources of one worker.
        placed: where the pool's workers are.

    Returns:
        The node's id; empty where what they wait for is free already and must only not be taken; None where nobody
        waits for this pool.
    """
    nodes = view.lasting()
    for bundle, count in view.waiting:
        if count <= (placed.unplaced if _same(bundle, ask) else 0):
            continue
        if any(how_many(node.free, bundle) for node in nodes):
            return ""
        for node in nodes:
            held = placed.by_node.get(node.id, 0)
            freed = {name: node.free.get(name, 0) + held * ask.get(name, 0) for name in {*node.free, *ask}}
            if held and how_many(freed, bundle):
                return node.id
    return None


class Sizer:
    """Decides, look after look, how many workers a pool should have.

    A pool that takes all the room there is (`max_actors` auto) gives way to others that wait, one worker at a time and
    down to `actors`; else the trainers of other runs, or a sweep's next trial, would never start. It does so only when
    they have waited for some looks: another pool that tried to grow in the same moment asks no longer then.
    """

    def __init__(self, options: PoolOptions, selector: Mapping[str, str] | None = None) -> None:
        self.options, self.selector = options, selector
        self._crowded = 0

    def decide(self, view: ClusterView, placed: Placed, current: int) -> tuple[int, str]:
        """Return the pool's new size, and the node that is to lose a worker; empty where none is.

        Args:
            view: what the cluster says of itself.
            placed: where the pool's workers are.
            current: the size until now.
        """
        if not view.exact:
            return current, ""
        size = target_size(self.options, room(view.lasting(self.selector), view, self.options.ask, placed))
        node = crowded_out(view, self.options.ask, placed) if self.options.max_actors is None else None
        self._crowded = 0 if node is None else self._crowded + 1
        if node is None:
            return size, ""
        size = min(size, current)
        if not node or self._crowded < PATIENT_LOOKS or size <= self.options.actors:
            return size, ""
        self._crowded = 0
        return size - 1, node


def shortage(options: PoolOptions, nodes: list[Node], view: ClusterView, placed: Placed, after_s: float) -> str:
    """Return a message that says what was asked for, what there is, and what to try.

    Args:
        options: of the pool.
        nodes: nodes that could hold workers.
        view: what the cluster says of itself.
        placed: where the pool's workers are.
        after_s: seconds that the pool has waited.
    """
    ask = options.ask
    asked = " and ".join(f"{amount:g} {name}" for name, amount in ask.items())
    total, free = (_sums([getattr(node, part) for node in nodes], ask) for part in ("total", "free"))
    found = " and ".join(f"{total[name]:g} {name} ({free[name]:g} free)" for name in ask)
    largest = {name: max((node.total.get(name, 0) for node in nodes), default=0) for name in ask}
    too_big = [f"no node has {ask[name]:g} {name}, the largest has {most:g}" for name, most in largest.items()]
    too_big = [text for text, name in zip(too_big, ask, strict=True) if largest[name] < ask[name]]
    have_place = housed(nodes, view, ask, placed)
    lines = [
        f"asked for {options.actors} render actors x {asked}, besides the trainer, of which {options.min_actors} must "
        f"run; after {after_s:.0f} s the cluster has {found} on {len(nodes)} nodes, and {have_place} of them have a "
        "place" + "".join(f"; {text}" for text in too_big)
    ]
    if view.limits is not None:
        most = " and ".join(f"{view.limits.get(name, 0):g} {name}" for name in ask)
        lines.append(f"  its autoscaler can grow it to {most}")
    elif view.launching:
        lines.append(f"  its autoscaler is starting {view.launching} more nodes")
    lines.append(
        "  try: render.min_actors=1 render.actors=1 | render.gpus_per_actor=0.5, or 0 to render on the CPU | "
        "more or larger nodes (max_workers in cluster.yaml) | render.start_timeout_s where nodes start slowly"
    )
    return "\n".join(lines)


def may_grow(options: PoolOptions, nodes: list[Node], view: ClusterView) -> bool:
    """Return whether an autoscaler is about to bring the missing resources, or could bring them.

    Args:
        options: of the pool.
        nodes: nodes that could hold workers.
        view: what the cluster says of itself.
    """
    if view.limits is None:
        return view.launching > 0
    total = _sums([node.total for node in nodes], options.ask)
    fits = all(view.limits.get(name, 0) >= options.min_actors * amount for name, amount in options.ask.items())
    return fits and any(view.limits.get(name, 0) > total[name] for name in options.ask)


def _sums(bundles: list[Bundle], names: Bundle) -> dict[str, float]:
    return {name: sum(bundle.get(name, 0) for bundle in bundles) for name in names}


def _waiting_for(view: ClusterView, ask: Bundle) -> int:
    return sum(count for bundle, count in view.waiting if _same(bundle, ask))


def _same(a: Bundle, b: Bundle) -> bool:
    return a.keys() == b.keys() and all(abs(a[name] - b[name]) < ROUNDING for name in a)
