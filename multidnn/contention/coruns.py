"""Times groups alone and beside something on the other accelerators: the traffic generator, or networks in a loop."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from time import sleep

import numpy as np

from multidnn.contention.pairings import Pairing
from multidnn.measure.layers import repeats_for
from multidnn.measure.options import MeasureOptions
from multidnn.measure.sampling import sample_rounds
from multidnn.networks.exported import ExportedNetwork
from multidnn.targets.base import Loop, Session, Target, Timed, Traffic

_log = logging.getLogger(__name__)

DUTIES = (0.25, 0.5, 1.0)
_GENERATOR_S = 0.3
# short networks run several times while a load is on, as starting and ending it takes milliseconds
_BLOCK_MS = 10.0
_MOST_PASSES = 10
# share of the passes dropped at either end: of three the median is left, so that one disturbance does not count
_TRIMMED = 0.34

Key = tuple[str, int]
Times = list[list[float]]


def fewest_rounds(options: MeasureOptions) -> int:
    """Return the rounds of co-runs that are always made: a third of a layer's samples, as the fit averages over many
    co-runs."""
    return max(3, options.min_samples // 3)


def twin(network: str) -> str:
    """Return the name of the second instance of a network, for what runs beside itself."""
    return f"{network} twin"


def traffic_levels(session: Session, target: Target) -> dict[str, list[float]]:
    """Return the traffic generator's bandwidth alone, in GB/s, per accelerator and duty."""
    levels: dict[str, list[float]] = {}
    for accelerator in target.accelerators:
        levels[accelerator] = []
        for duty in DUTIES:
            with session.background({accelerator: Traffic(duty)}) as answers:
                sleep(_GENERATOR_S)
            moved, seconds = answers[accelerator]
            levels[accelerator].append(moved / seconds / 1e9)
        listing = ", ".join(f"{level:.1f}" for level in levels[accelerator])
        _log.info("contention: traffic generator on %s: %s GB/s", accelerator, listing)
    return levels


def beside_traffic(
    session: Session, target: Target, accelerator: str, victims: Sequence[Key], rounds: int
) -> dict[str, Times]:
    """Time `victims` on `accelerator` alone and with the generator on every other accelerator, in turn.

    Returns:
        Under "alone" and each duty, milliseconds per round and victim.
    """
    others = [other for other in target.accelerators if other != accelerator]
    plan = _plan(session, accelerator, victims, target.shortest_sample_ms)
    times: dict[str, Times] = {"alone": []}
    for number in range(rounds):
        _log.info("contention: %s beside traffic, round %d/%d", accelerator, number + 1, rounds)
        times["alone"] += session.time(accelerator, plan, 1)
        for duty in DUTIES if others else ():
            with session.background(dict.fromkeys(others, Traffic(duty))):
                times.setdefault(str(duty), []).extend(session.time(accelerator, plan, 1))
    return times


@dataclass(frozen=True)
class Measured:
    """What a pairing gave: milliseconds per pass and group, alone and together, and the groups."""

    pairing: Pairing
    groups: tuple[int, ...]
    alone_ms: Times
    together_ms: Times

    @property
    def slowdowns(self) -> list[float]:
        """Per group the mean over passes of together / alone, of their middle third.

        A mean, as each pass meets another phase of what runs beside; times are compared with those right before, so that
        drift cancels.
        """
        from scipy.stats import trim_mean

        return [float(value) for value in trim_mean(np.divide(self.together_ms, self.alone_ms), _TRIMMED, axis=0)]


def beside_networks(
    session: Session,
    target: Target,
    networks: Mapping[str, ExportedNetwork],
    pairings: Sequence[Pairing],
    options: MeasureOptions,
) -> tuple[list[Measured], dict[tuple[str, str], dict[int, float]]]:
    """Time the groups of each pairing's victim in the network's order, alone and beside the others' loops, in turn.

    Groups that an accelerator does not take are left out; a pairing with nothing left on one side is not measured.

    Returns:
        What each pairing gave; and by network and accelerator of every side of them, group to median ms alone.
    """
    taken = {
        (name, accelerator): _taken(session, accelerator, network)
        for name, network in networks.items()
        for accelerator in target.accelerators
    }
    possible = [
        pairing
        for pairing in pairings
        if taken[pairing.victim, pairing.accelerator] and all(taken[name, where] for where, name in pairing.beside)
    ]
    plans = {
        (name, accelerator): _plan(session, accelerator, [(name, group) for group in groups], target.shortest_sample_ms)
        for (name, accelerator), groups in taken.items()
        if any((name, accelerator) in _sides(p) for p in possible)
    }
    passes = {key: _passes(session, key[1], plan) for key, plan in plans.items()}
    # what runs beside others and never has any beside it
    never = [key for key in plans if key not in {(p.victim, p.accelerator) for p in possible}]
    apart: dict[tuple[str, str], Times] = {key: [] for key in never}
    alone: dict[Pairing, Times] = {pairing: [] for pairing in possible}
    together: dict[Pairing, Times] = {pairing: [] for pairing in possible}

    def run(key: tuple[str, str]) -> Times:
        return session.time(key[1], plans[key], passes[key])

    def take() -> None:
        for key, series in apart.items():
            series += run(key)
        for pairing in possible:
            key = pairing.victim, pairing.accelerator
            # right before, as the speed of a machine can change within seconds
            alone[pairing] += run(key)
            with session.background(dict(_loops(pairing, taken))):
                together[pairing] += run(key)

    # every plan has run by then, so no round is thrown away
    rounds = sample_rounds(take, replace(options, warmup=0, min_samples=fewest_rounds(options)))
    _log.info("contention: %d pairs of networks, %d rounds", len(possible), rounds)
    measured = [
        Measured(pairing, tuple(taken[pairing.victim, pairing.accelerator]), alone[pairing], together[pairing])
        for pairing in possible
    ]
    for m in measured:
        apart.setdefault((m.pairing.victim, m.pairing.accelerator), []).extend(m.alone_ms)
    standalone = {
        key: dict(zip(taken[key], map(float, np.median(series, axis=0)), strict=True)) for key, series in apart.items()
    }
    return measured, standalone


def _sides(pairing: Pairing) -> list[tuple[str, str]]:
    return [(pairing.victim, pairing.accelerator), *((name, where) for where, name in pairing.beside)]


def _passes(session: Session, accelerator: str, plan: Sequence[Timed]) -> int:
    """Return how often a plan runs in one block."""
    (once,) = session.time(accelerator, plan, 1)
    length = sum(ms * timed.repeats for ms, timed in zip(once, plan, strict=True))
    return int(np.clip(np.ceil(_BLOCK_MS / max(length, 1e-6)), 1, _MOST_PASSES))


def _taken(session: Session, accelerator: str, network: ExportedNetwork) -> list[int]:
    refused = (session.refusal(accelerator, network.name, group.index) for group in network.groups)
    return [group.index for group, reason in zip(network.groups, refused, strict=True) if reason is None]


def _loops(pairing: Pairing, taken: Mapping[tuple[str, str], Sequence[int]]) -> list[tuple[str, Loop]]:
    """Return what runs beside; a network beside itself has tensors of its own."""
    return [
        (where, Loop(tuple((twin(name) if name == pairing.victim else name, group) for group in taken[name, where])))
        for where, name in pairing.beside
    ]


def _plan(session: Session, accelerator: str, groups: Sequence[Key], shortest_sample_ms: float) -> list[Timed]:
    """Return what to time: each group as often in a row as a sample needs."""
    once = [Timed(name, group) for name, group in groups]
    trial = np.median(session.time(accelerator, once, 2), axis=0)
    return [
        Timed(name, group, repeats_for(ms, shortest_sample_ms)) for (name, group), ms in zip(groups, trial, strict=True)
    ]
