"""The movable objects of a sequence: their models, looks and trajectories; parked ones are placed here."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from amodal_perception_ros.labels import BY_NAME, MAX_INSTANCE_NUMBER, segment_id
from amodal_perception_ros.simulation import bikes, buses, cars, motorcycles, people, trucks, vehicles
from amodal_perception_ros.simulation.meshes import PALETTE_SIZE, Model
from amodal_perception_ros.simulation.street import HALF_LENGTH, SIDEWALK_HEIGHT, Street, bay_length
from amodal_perception_ros.simulation.town import Town

PERSON, RIDER, CAR = BY_NAME["person"].id, BY_NAME["rider"].id, BY_NAME["car"].id
BIKE, MOTORCYCLE = BY_NAME["bike"].id, BY_NAME["motorcycle"].id
TRUCK, BUS = BY_NAME["truck"].id, BY_NAME["bus"].id


@dataclass(eq=False)
class Thing:
    """One movable object over a whole sequence.

    Attributes:
        class_id: Cityscapes id.
        track_id: 1..999, unique in the sequence.
        models: its poses; a rigid object has one.
        palette: (4, 3) linear RGB colours of slots 1..4.
        poses: (frames, 4) x, y, z, yaw in odom [m, rad].
        velocity: (frames, 3) [m/s] in odom.
        phase: (frames,) index into `models`.
        lights: head and tail lights are lit (in the dark).
    """

    class_id: int
    track_id: int
    models: tuple[Model, ...]
    palette: np.ndarray
    poses: np.ndarray
    velocity: np.ndarray
    phase: np.ndarray
    lights: bool = False
    low: np.ndarray = field(init=False)
    high: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.low = np.min([model.low for model in self.models], 0)
        self.high = np.max([model.high for model in self.models], 0)

    @property
    def segment(self) -> int:
        """Segment id `class * 1000 + track`, the thing's instance id in every camera."""
        return segment_id(self.class_id, self.track_id)

    def model(self, frame: int) -> Model:
        """Return the mesh at a frame."""
        return self.models[int(self.phase[frame])]

    def matrix(self, frame: int) -> np.ndarray:
        """Return the (4, 4) odom_from_model transform at a frame."""
        x, y, z, yaw = self.poses[frame]
        c, s = np.cos(yaw), np.sin(yaw)
        return np.array([[c, -s, 0, x], [s, c, 0, y], [0, 0, 1, z], [0, 0, 0, 1.0]])


@dataclass(frozen=True)
class Gap:
    """A gap between two parked neighbours, through which people step out onto the carriageway.

    Attributes:
        x, y: its middle in odom [m].
        heading: direction through the gap towards the carriageway, the unit vector (cos, sin) [rad].
        half: way from the middle to where the vehicles end on the carriageway's side [m]; the same to the other side.
    """

    x: float
    y: float
    heading: float
    half: float


@dataclass(eq=False)
class Fleet:
    """The models of a sequence; every thing takes one of them and an own palette."""

    cars: list[tuple[str, Model]]
    trucks: list[Model]
    buses: list[Model]
    bikes: list[Model]
    motorcycles: list[Model]
    walkers: list[tuple[Model, ...]]
    standers: list[Model]
    cyclists: list[Model]
    motorcyclists: list[Model]


def build_fleet(rng: np.random.Generator) -> Fleet:
    """Build the models of one sequence: seven car shapes, two of each larger vehicle, ten figures."""
    names = [str(n) for n in rng.permutation(cars.CAR_SHAPES)[:7]]
    if not {"suv", "minivan", "van"} & set(names):
        names[0] = "van"
    figures = [people.draw_figure(rng) for _ in range(15)]
    return Fleet(
        cars=[(n, cars.build_car(rng, n)) for n in names],
        trucks=[trucks.build_truck(rng, str(rng.choice(trucks.TRUCK_SHAPES))) for _ in range(2)],
        buses=[buses.build_bus(rng, str(rng.choice(buses.BUS_SHAPES))) for _ in range(2)],
        bikes=[bikes.build_bike(rng, str(n)) for n in rng.permutation(bikes.BIKE_SHAPES)[:3]],
        motorcycles=[
            motorcycles.build_motorcycle(rng, str(n)) for n in rng.permutation(motorcycles.MOTORCYCLE_SHAPES)[:2]
        ],
        walkers=[people.build_walker(f) for f in figures[:6]],
        standers=[
            people.build_standing(f, float(rng.uniform(0, 6)), float(rng.uniform(0.04, 0.15))) for f in figures[6:10]
        ],
        cyclists=[people.build_rider(_grown(f), False, float(rng.uniform(0, 6))) for f in figures[10:13]],
        motorcyclists=[people.build_rider(_grown(f), True, 0.0) for f in figures[13:]],
    )


def _grown(figure: people.Figure) -> people.Figure:
    return figure if figure.height > 1.5 else people.Figure(1.7, figure.girth, "trousers", False, True, False)


def car_palette(rng: np.random.Generator) -> np.ndarray:
    """Draw the colours of a car."""
    weights = vehicles.PAINT_WEIGHTS / vehicles.PAINT_WEIGHTS.sum()
    paint = vehicles.PAINT_COLORS[rng.choice(len(weights), p=weights)] * rng.uniform(0.8, 1.2)
    return _palette(paint, paint)


def cargo_palette(rng: np.random.Generator) -> np.ndarray:
    """Draw the colours of a truck: cab and body."""
    return _palette(car_palette(rng)[0], vehicles.CARGO_COLORS[rng.integers(len(vehicles.CARGO_COLORS))])


def bus_palette(rng: np.random.Generator) -> np.ndarray:
    """Draw the colours of a bus: body and skirt."""
    a, b = vehicles.BUS_COLORS[rng.choice(len(vehicles.BUS_COLORS), 2, replace=False)]
    return _palette(a, b * 0.5)


def _palette(*colors: np.ndarray) -> np.ndarray:
    out = np.full((PALETTE_SIZE, 3), 0.3)
    out[: len(colors)] = np.clip(colors, 0, 0.9)
    return out


class Population:
    """Collects the things of a sequence and gives out track ids."""

    def __init__(self, frames: int, town: Town, fleet: Fleet, rng: np.random.Generator) -> None:
        self.frames, self.town, self.fleet, self.rng = frames, town, fleet, rng
        self.things: list[Thing] = []

    def add(self, class_id: int, models: tuple[Model, ...], palette: np.ndarray, pose: tuple[float, float, float, float]
            ) -> Thing | None:  # fmt: skip
        """Add a thing standing at (x, y, z, yaw); None when the sequence has no track id left."""
        if len(self.things) >= MAX_INSTANCE_NUMBER:
            return None
        poses = np.tile(np.array(pose, float), (self.frames, 1))
        thing = Thing(class_id, len(self.things) + 1, models, palette, poses, np.zeros((self.frames, 3)),
                      np.zeros(self.frames, np.int64))  # fmt: skip
        self.things.append(thing)
        return thing

    def is_clear(self, point: np.ndarray, radius: float) -> bool:
        """Whether no thing stands within `radius` [m] of an odom position at the first frame."""
        if not self.things:
            return True
        places = np.array([thing.poses[0, :2] for thing in self.things])
        return bool(np.hypot(*(places - point).T).min() > radius)


def park_vehicles(population: Population) -> list[np.ndarray]:
    """Fill the parking strips and put two-wheelers on the sidewalks.

    Returns:
        (x, y, street index) of the gaps between parked vehicles, where people step out.
    """
    gaps: list[np.ndarray] = []
    for k, street in enumerate(population.town.streets):
        for side in (-1, 1):
            strip = street.parking[0 if side > 0 else 1]
            if strip:
                gaps += _park_row(population, k, street, side, strip)
            _park_two_wheelers(population, street, side)
    return gaps


def _free(population: Population, index: int, street: Street, s: float, half: float) -> bool:
    """Whether an s interval keeps clear of the crossing and of marked pedestrian crossings."""
    if abs(s) > HALF_LENGTH - 12:
        return False
    if street.gap is not None and street.gap[0] - 7.5 - half < s < street.gap[1] + 7.5 + half:
        return False
    return all(abs(s - z) > half + 3.0 for z in population.town.zebras[index])


def _park_row(population: Population, index: int, street: Street, side: int, strip: float) -> list[np.ndarray]:
    """Groups of 1-7 vehicles with breaks of 2-22 m; inside a group up to 15 % of the places are free."""
    rng, gaps = population.rng, []
    s, left, previous = -95.0 + float(rng.uniform(0, 12)), int(rng.integers(1, 8)), -1e9
    while s < 95:
        if left == 0:
            s += float(rng.uniform(2, 22))
            left = int(rng.integers(1, 8))
        weights = [1.0, 0, 0, 0] if strip > 3 else [0.88, 0.06, 0.04, 0.02]
        kind = str(rng.choice(["car", "truck", "motorcycle", "bus"], p=weights))
        model, class_id, palette = _parked_model(population, kind)
        extent = model.high - model.low
        length = bay_length(strip) if strip > 3 else float(extent[0]) + float(rng.uniform(0.5, 1.5))
        middle = s + length / 2
        if _free(population, index, street, middle, length / 2) and rng.random() > 0.15:
            population.add(
                class_id, (model,), palette, _parked_pose(rng, street, side, strip, middle, float(extent[1]))
            )
            if s - previous < 7:
                gaps.append(np.array([*street.point(0.5 * (previous + s), _strip_middle(street, side, strip)), index]))
            previous = s + length
        s += length
        left -= 1
    return gaps


def _strip_middle(street: Street, side: int, strip: float) -> float:
    return side * (street.driven + strip / 2)


def _parked_pose(
    rng: np.random.Generator, street: Street, side: int, strip: float, s: float, width: float
) -> tuple[float, float, float, float]:
    """Along the kerb (mostly with the traffic; broad vehicles slightly over the kerb), or across in a deep strip."""
    heading = street.heading + (0.0 if side < 0 else np.pi) + np.pi * (rng.random() < 0.12)
    if strip > 3:
        heading += np.pi / 2 * (1 if rng.random() < 0.6 else -1)
        drift = float(rng.normal(0, 0.1))
    else:
        drift = float(rng.normal(0, 0.05)) + side * min(0.15, max(0.0, (width - strip) / 2))
    x, y = street.point(s, _strip_middle(street, side, strip) + drift)
    return x, y, 0.0, heading + float(rng.normal(0, 0.012))


def _parked_model(population: Population, kind: str) -> tuple[Model, int, np.ndarray]:
    rng, fleet = population.rng, population.fleet
    if kind == "car":
        return fleet.cars[rng.integers(len(fleet.cars))][1], CAR, car_palette(rng)
    if kind == "truck":
        return fleet.trucks[rng.integers(len(fleet.trucks))], TRUCK, cargo_palette(rng)
    if kind == "bus":
        return fleet.buses[rng.integers(len(fleet.buses))], BUS, bus_palette(rng)
    return fleet.motorcycles[rng.integers(len(fleet.motorcycles))], MOTORCYCLE, car_palette(rng)


def _park_two_wheelers(population: Population, street: Street, side: int) -> None:
    """Racks of bicycles and single motorcycles near the kerb."""
    rng, fleet = population.rng, population.fleet
    for _ in range(int(rng.integers(2, 6))):
        s0 = float(rng.uniform(-70, 70))
        if street.gap is not None and street.gap[0] - 5 < s0 < street.gap[1] + 8:
            continue
        heading = street.heading + side * np.pi / 2 + float(rng.uniform(-0.5, 0.5))
        motorcycles = rng.random() < 0.3
        for k in range(int(rng.integers(1, 3 if motorcycles else 6))):
            models = fleet.motorcycles if motorcycles else fleet.bikes
            step = 0.95 if motorcycles else 0.62
            x, y = street.point(s0 + k * step, side * (street.curb(side) + 1.35))
            pose = (x, y, SIDEWALK_HEIGHT, heading + float(rng.normal(0, 0.06)))
            class_id = MOTORCYCLE if motorcycles else BIKE
            population.add(class_id, (models[rng.integers(len(models))],), car_palette(rng), pose)
