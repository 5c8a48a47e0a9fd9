"""artifact: what the paper's artifact chose on its own input, evaluated by our simulator.

The artifact's model has no exclusive turns on an accelerator, so its answer is a placement without an order; it is
given the best order that the simulator finds for it. What the artifact itself predicts stands beside.
"""

import math

from multidnn.schedule.explanation import explained
from multidnn.schedule.orders import OrderSearch
from multidnn.schedule.patterns import patterns
from multidnn.schedule.problem import Infeasible, Problem
from multidnn.schedule.schedule import Schedule, named_order, named_placement, predicted
from multidnn.schedule.timeline import simulate
from multidnn.targets.recorded import artifact_choice


def artifact_schedule(problem: Problem, target: str = "recorded") -> Schedule:
    """Return the artifact's schedule, its own prediction under the key ``artifact``.

    Raises:
        Infeasible: the artifact has no answer for this workload.
    """
    instances = problem.workload.instances
    choice = artifact_choice([instance.network for instance in instances])
    if choice is None or any(instance.after for instance in instances) or problem.workload.objective != "latency":
        raise Infeasible("the artifact answers one workload only: GoogleNet beside AlexNet, each once, for latency")
    index = {name: a for a, name in enumerate(problem.accelerators)}
    placement = tuple(tuple(index[name] for name in choice.placement[instance.network]) for instance in instances)
    found = OrderSearch(problem).best(patterns(problem, placement), math.inf)
    assert found is not None, "without a cutoff some order is found"
    timeline = simulate(problem, placement, found[1])
    schedule = Schedule(
        workload=problem.workload.name,
        target=target,
        scheduler="artifact",
        objective=problem.workload.objective,
        max_transitions=None,
        status="feasible",
        value=timeline.makespan_ms,
        bound=None,
        predicted=predicted(timeline),
        placement=named_placement(problem, placement),
        order=named_order(problem, found[1]),
        extra={"artifact": {"predicted_by_artifact_ms": choice.makespan_ms, "source": choice.source}},
    )
    return explained(problem, schedule)
