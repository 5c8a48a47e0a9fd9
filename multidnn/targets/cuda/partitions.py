"""How many multiprocessors each partition gets: the driver deals them out in whole units, the rest is one partition."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from multidnn.errors import InputError
from multidnn.targets.cuda.spec import REST, Size


@dataclass(frozen=True)
class Division:
    """How to ask the driver for partitions.

    Attributes:
        unit: SMs of one group that the driver deals out.
        groups: per partition, how many groups it takes; 0 for the one that takes what is left.
        counts: per partition, its SMs.
        rest: the partition that takes everything that is not dealt out, None if there is none.
    """

    unit: int
    groups: dict[str, int]
    counts: dict[str, int]
    rest: str | None


def divide(wanted: Mapping[str, Size], total: int, granularity: int, place: str = "partitions") -> Division:
    """Return how to divide `total` SMs among partitions that want so many each, None being all that is left.

    Each count is rounded up to the granularity. Where that does not fit, the partition that would be rounded up most
    takes what the others leave, if that is as much as it wants: 32 and 100 of 132 SMs are exactly that. Shares are
    rounded to the nearest unit, but one at least, so that their sum is as well: thirds of 132 are 40, 48 and 44.

    Raises:
        InputError: the partitions do not fit on the device.
    """
    dealt_shares = _shares(wanted, total, granularity)
    least = {
        name: granularity if sms is None else dealt_shares[name] if isinstance(sms, Fraction) else sms
        for name, sms in wanted.items()
    }
    counts = {name: -(-sms // granularity) * granularity for name, sms in least.items()}
    rest = next((name for name, sms in wanted.items() if sms is None), None)
    if rest is None and sum(counts.values()) > total:
        rest = max(least, key=lambda name: (counts[name] - least[name], least[name]))
    if rest is not None:
        counts[rest] = total - sum(count for name, count in counts.items() if name != rest)
        if counts[rest] < least[rest]:
            listing = ", ".join(f"{name}: {_asked(sms)}" for name, sms in wanted.items())
            raise InputError(
                f"{place}: {listing} do not fit on {total} multiprocessors, which are dealt out in units of "
                f"{granularity}"
            )
    dealt = {name: count for name, count in counts.items() if name != rest}
    # few large groups: the driver sets aside less than for many small ones
    unit = math.gcd(*dealt.values()) if dealt else total
    groups = {name: 0 if name == rest else counts[name] // unit for name in wanted}
    return Division(unit, groups, {name: counts[name] for name in wanted}, rest)


def _asked(sms: Size) -> str:
    return REST if sms is None else f"{float(100 * sms):g}%" if isinstance(sms, Fraction) else str(sms)


def _shares(wanted: Mapping[str, Size], total: int, granularity: int) -> dict[str, int]:
    """The SMs of every partition that wants a share: the difference of its rounded ends, all shares laid side by side.

    No end is rounded up into what partitions without a share need, or into the one unit of each share after it.
    """
    shares = {name: share for name, share in wanted.items() if isinstance(share, Fraction)}
    others = sum(granularity if sms is None else sms for sms in wanted.values() if not isinstance(sms, Fraction))
    counts = {}
    begin, end = 0, Fraction(0)
    limit = (total - others) // granularity - len(shares)
    for name, share in shares.items():
        end += share
        limit += 1
        units = max(begin + 1, min(math.floor(end * total / granularity + Fraction(1, 2)), limit))
        counts[name] = (units - begin) * granularity
        begin = units
    return counts
