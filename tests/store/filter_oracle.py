"""What a filter means, read off the metadata in the plainest way, and random metadata and filters to try it on."""

from __future__ import annotations

import math
import operator
import random
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from typing import Any

from core.filters import (
    And,
    Box,
    Comparison,
    Every,
    Exists,
    Filter,
    In,
    Leaf,
    Missing,
    Not,
    Null,
    Or,
    Prefix,
    Range,
    Within,
)

DECLARED = {"released": "date", "shop": "geo", "maker.founded": "date", "code": "text", "weight": "number"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def holds(tree: Filter, metadata: Mapping[str, Any]) -> bool:
    match tree:
        case And(parts=parts):
            return all(holds(part, metadata) for part in parts)
        case Or(parts=parts):
            return any(holds(part, metadata) for part in parts)
        case Not(part=part):
            return not holds(part, metadata)
        case _:
            return leaf_holds(tree, values_at(metadata, tree.field.split(".")))


def leaf_holds(leaf: Leaf, found: Sequence[Any]) -> bool:
    """`found`: all that is at the field's path, arrays taken apart."""
    scalars = [value for value in found if value is not None and not _is_object(leaf.field, value)]
    match leaf:
        case Exists():
            return any(_has_value(value, nulls=False) for value in found)
        case Missing():
            return not any(_has_value(value, nulls=True) for value in found)
        case Null():
            return None in found
        case Every(part=part):
            return bool(scalars) and all(passes(part, value) for value in scalars)
        case _:
            return any(passes(leaf, value) for value in scalars)


def values_at(value: Any, path: Sequence[str]) -> list[Any]:
    if isinstance(value, list):
        return [item for part in value for item in values_at(part, path)]
    if not path:
        return [value]
    return values_at(value[path[0]], path[1:]) if isinstance(value, Mapping) and path[0] in value else []


def passes(comparison: Comparison, value: Any) -> bool:
    kind = DECLARED.get(comparison.field)
    match comparison:
        case In(values=wanted):
            return any(_equal(kind, value, want) for want in wanted)
        case Range(lower=lower, upper=upper):
            least = operator.ge if lower and lower.inclusive else operator.gt
            most = operator.le if upper and upper.inclusive else operator.lt
            return (lower is None or _in_order(kind, least, value, lower.value)) and (
                upper is None or _in_order(kind, most, value, upper.value)
            )
        case Prefix(text=text):
            value = _as_kind(kind, value)
            return kind in (None, "text") and isinstance(value, str) and value[: len(text)] == text
        case Within(latitude=latitude, longitude=longitude, metres=metres):
            return _metres_between(_point(value), (latitude, longitude)) <= metres
        case Box(south=south, west=west, north=north, east=east):
            latitude, longitude = _point(value)
            width = (east - west) % 360 or (360 if east > west else 0)
            return south <= latitude <= north and (longitude - west) % 360 <= width


def _as_kind(kind: str | None, value: Any) -> Any:
    if kind == "text" and not isinstance(value, str):
        return str(value).lower() if isinstance(value, bool) else str(value)
    if kind == "number" and isinstance(value, str):
        return float(value)
    return value


def _equal(kind: str | None, value: Any, want: Any) -> bool:
    if kind == "date":
        return instant(want)[0] <= instant(value)[0] <= instant(want)[1] - (instant(want)[0] < instant(want)[1])
    value = _as_kind(kind, value)
    return _type(value) is _type(want) and bool(value == want)


def _in_order(kind: str | None, order: Callable[[Any, Any], bool], value: Any, bound: Any) -> bool:
    if kind == "date":
        start, end = instant(bound)
        moment = instant(value)[0]
        if start == end:
            return order(moment, start)
        # The whole day, month or year: its last microsecond for what comes after it, its first for what comes before.
        return order(moment, end - 1 if order in (operator.gt, operator.le) else start)
    value = _as_kind(kind, value)
    return _type(value) is _type(bound) and not isinstance(value, bool) and order(value, bound)


@cache
def instant(value: str | float) -> tuple[int, int]:
    """Microseconds since 1970: the first, and the one behind the last; twice the same for a time."""
    if not isinstance(value, str):
        if 1000 <= value <= 9999 and value == int(value):
            return instant(str(int(value)))
        moment = _EPOCH + timedelta(milliseconds=value)
        return (_micros(moment),) * 2
    if len(value) == 4:
        return _micros(datetime(int(value), 1, 1, tzinfo=UTC)), _micros(datetime(int(value) + 1, 1, 1, tzinfo=UTC))
    if len(value) == 7:
        year, month = map(int, value.split("-"))
        after = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)
        return _micros(datetime(year, month, 1, tzinfo=UTC)), _micros(after)
    moment = datetime.fromisoformat(value)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return _micros(moment), _micros(moment + timedelta(days=1)) if len(value) == 10 else _micros(moment)


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _type(value: Any) -> type:
    return bool if isinstance(value, bool) else str if isinstance(value, str) else float


def _is_object(field: str, value: Any) -> bool:
    return isinstance(value, Mapping) and DECLARED.get(field) != "geo"


def _has_value(value: Any, *, nulls: bool) -> bool:
    """Whether there is anything that is no empty array or object."""
    if isinstance(value, Mapping):
        return any(_has_value(part, nulls=nulls) for part in value.values())
    if isinstance(value, list):
        return any(_has_value(part, nulls=nulls) for part in value)
    return nulls or value is not None


def _point(value: Any) -> tuple[float, float]:
    if isinstance(value, str):
        latitude, longitude = value.split(",")
        return float(latitude), float(longitude)
    return float(value["lat"]), float(value["lon"])


def _metres_between(one: tuple[float, float], other: tuple[float, float]) -> float:
    """By the angle between two unit vectors: another formula than the one that is tested."""
    a, b = _vector(one), _vector(other)
    cross = (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])
    return 6_371_008.8 * math.atan2(math.hypot(*cross), sum(x * y for x, y in zip(a, b, strict=True)))


def _vector(place: tuple[float, float]) -> tuple[float, float, float]:
    latitude, longitude = map(math.radians, place)
    return math.cos(latitude) * math.cos(longitude), math.cos(latitude) * math.sin(longitude), math.sin(latitude)


BRANDS = ["HP", "Xerox", "Acme", "acme", "Ångström", "", "A", "AB", "ABC", "\U0001f600", "\uffff", "true", "1", "x y"]
MIXED = [*BRANDS, True, False, 1, 0, 2.5, 2**53, -7]


def random_metadata(dice: random.Random) -> dict[str, Any]:
    """A product: every field may be missing, null, or an array of several values."""
    makers: dict[str, Any] = {
        "brand": lambda: dice.choice(BRANDS),
        "price": lambda: round(dice.expovariate(0.02), dice.choice([0, 0, 1])),
        "new": lambda: dice.random() < 0.3,
        "mixed": lambda: dice.choice(MIXED),
        "marks": lambda: [dice.randint(1, 6) for _ in range(dice.randint(0, 4))],
        "tags": lambda: dice.sample(["red", "green", "blue", "big", "small"], dice.randint(0, 3)),
        "maker": lambda: _random_maker(dice),
        "parts": lambda: [_random_part(dice) for _ in range(dice.randint(0, 3))],
        "released": lambda: random_date(dice),
        "shop": lambda: dice.choice(PLACES),
        "code": lambda: dice.choice(["A-1", "A-17", 12, 12.5, True]),
        "weight": lambda: dice.choice([1, 2.5, "2.5", "1e3", 1000]),
    }  # fmt: skip
    metadata: dict[str, Any] = {}
    for name, make in makers.items():
        chance = dice.random()
        if chance < 0.7:
            metadata[name] = make()
        elif chance < 0.8:
            metadata[name] = [make() for _ in range(dice.randint(0, 3))]
        elif chance < 0.85:
            metadata[name] = [make(), None]
        elif chance < 0.9:
            metadata[name] = None
    return metadata


def _random_maker(dice: random.Random) -> dict[str, Any]:
    found: dict[str, Any] = {"name": dice.choice([*BRANDS, None]), "founded": random_date(dice)}
    return {name: value for name, value in found.items() if dice.random() < 0.7}


def _random_part(dice: random.Random) -> dict[str, Any]:
    return {"number": dice.randint(0, 99), "of": {"brand": dice.choice(BRANDS)}}


def random_date(dice: random.Random) -> str | int:
    moment = datetime(2019, 12, 31, 22, tzinfo=UTC) + timedelta(hours=dice.randint(0, 4 * 40) * 6)
    zone = timezone(timedelta(minutes=dice.choice([0, 0, 60, -300, 345])))
    forms: list[Callable[[], str | int]] = [
        lambda: moment.strftime("%Y-%m-%d"),
        lambda: moment.strftime("%Y-%m"),
        lambda: moment.strftime("%Y"),
        lambda: moment.strftime("%Y-%m-%dT%H:%MZ"),
        lambda: moment.strftime("%Y-%m-%d %H:%M:%S"),
        lambda: moment.astimezone(zone).isoformat(),
        lambda: moment.replace(microsecond=dice.randint(0, 3)).isoformat(),
        lambda: int(moment.timestamp() * 1000),
    ]
    return dice.choice(forms)()


def random_place(dice: random.Random) -> dict[str, float] | str:
    latitude = dice.choice([dice.uniform(-90, 90), round(dice.uniform(47, 49), 2), 90, -90, 89.99, 0])
    longitude = dice.choice([dice.uniform(-180, 180), round(dice.uniform(10, 12), 2), 180, -180, 179.99, -179.99])
    return {"lat": latitude, "lon": longitude} if dice.random() < 0.8 else f"{latitude}, {longitude}"


PLACES = [random_place(random.Random(seed)) for seed in range(1500)]


def random_filter(dice: random.Random, depth: int = 3) -> dict[str, Any]:
    """JSON of a filter that is never refused over many random products."""
    join = dice.choice(["and", "or", "not", "leaf", "leaf"]) if depth else "leaf"
    if join == "leaf":
        return random_comparison(dice)
    if join == "not":
        return {"not": random_filter(dice, depth - 1)}
    return {join: [random_filter(dice, depth - 1) for _ in range(dice.randint(1, 3))]}


def random_comparison(dice: random.Random) -> dict[str, Any]:
    makers: dict[str, Callable[[], Any]] = {
        "brand": lambda: dice.choice(BRANDS),
        "price": lambda: round(dice.expovariate(0.02), 1),
        "new": lambda: dice.random() < 0.5,
        "mixed": lambda: dice.choice(MIXED),
        "marks": lambda: dice.randint(0, 7),
        "tags": lambda: dice.choice(["red", "green", "blue", "big", "small"]),
        "maker.name": lambda: dice.choice(BRANDS),
        "maker.founded": lambda: random_date(dice),
        "parts.number": lambda: dice.randint(0, 99),
        "parts.of.brand": lambda: dice.choice(BRANDS),
        "released": lambda: random_date(dice),
        "code": lambda: dice.choice(["A-1", "A-17", "12", "12.5", "true", "A"]),
        "weight": lambda: dice.choice([1, 2.5, 1000.0, 3]),
    }
    if dice.random() < 0.15:
        return {"shop": _random_circle_or_box(dice)}
    if dice.random() < 0.15:
        state = {dice.choice(["exists", "missing"]): dice.random() < 0.5}
        return {dice.choice([*makers, "maker", "parts", "shop"]): state}
    field = dice.choice(list(makers))
    condition = _random_condition(dice, makers[field])
    return {field: condition}


def _random_condition(dice: random.Random, make: Callable[[], Any]) -> Any:
    value, other = make(), make()
    choices: list[Any] = [None, value, {"in": [make() for _ in range(dice.randint(1, 4))]}, {"all": [value, other]}]
    if not isinstance(value, bool) and not isinstance(other, bool):
        low, high = dice.choice(["gt", "gte"]), dice.choice(["lt", "lte"])
        choices += [{low: value}, {high: value}, {low: value, high: other}, {"every": {low: value}}]
    if isinstance(value, str) and not value[:4].isdecimal():  # no date
        choices.append({"prefix": value[: dice.randint(0, 2)]})
    choices.append({"every": {"in": [value, other]}})
    return dice.choice(choices)


def _random_circle_or_box(dice: random.Random) -> dict[str, Any]:
    anywhere = (dice.uniform(-90, 90), dice.uniform(-180, 180))
    latitude, longitude = dice.choice([(48, 11), (0, 180), (90, 0), (-89, 50), anywhere])
    if dice.random() < 0.5:
        circle = {"lat": latitude, "lon": longitude, "distance": dice.choice([1, 1000, 1e5, "3000 km", 1e7, 3e7])}
        return dice.choice([{"within": circle}, {"every": {"within": circle}}])
    south, north = sorted(dice.choice([-90, 90, 0, dice.uniform(-90, 90)]) for _ in range(2))
    west, east = (dice.choice([-180, 180, 0, 170, -170, dice.uniform(-180, 180)]) for _ in range(2))
    return {"box": {"south": south, "west": west, "north": north, "east": east}}
