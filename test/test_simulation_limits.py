"""What a user's distributions may hold: whatever the simulator cannot work with is refused at once, by its name."""

import re

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from amodal_perception_ros.simulation import SequenceConfig
from amodal_perception_ros.simulation.assets.props import PROPS
from amodal_perception_ros.simulation.distributions import DEFAULTS, KINDS
from amodal_perception_ros.simulation.limits import LIMITS, limits, plain
from amodal_perception_ros.simulation.sequence import SequenceRunner


def flat(tree, prefix=""):
    for name, value in tree.items():
        if isinstance(value, dict) and next(iter(value)) not in KINDS:
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


ENTRIES = dict(flat(yaml.safe_load(DEFAULTS.read_text())))
NUMBERS = {key: limits(key) for key in ENTRIES if np.isfinite(limits(key)).all()}


def nested(entries):
    tree = {}
    for key, value in entries.items():
        *path, name = key.split(".")
        branch = tree
        for part in path:
            branch = branch.setdefault(part, {})
        branch[name] = value
    return tree


def config(entries, **values):
    return SequenceConfig(3, 1, width=64, height=32, supersample=1, overrides=nested(entries), **values)


def refused(key, value):
    with pytest.raises(ValueError, match=re.escape(f"distributions: '{key}' is ")):
        config({key: value})


def is_number(entry):
    kind, given = next(iter(entry.items())) if isinstance(entry, dict) else ("plain", entry)
    return kind not in ("chance", "choice") or (kind == "choice" and not any(isinstance(name, str) for name in given))


def test_every_entry_that_gives_numbers_has_limits_and_every_limit_an_entry():
    flags = {key for key in ENTRIES if key.startswith(("weather.rain.", "weather.wet."))}
    assert {key for key, entry in ENTRIES.items() if is_number(entry)} - flags == set(NUMBERS)
    assert set(LIMITS) <= {name for key in NUMBERS for name in (plain(key), key.rpartition(".")[0])}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("street.lane_width", -1), ("street.lane_width_suburban", {"uniform": [2, 3]}), ("rig.fov", 180),
        ("lidar.rings", {"choice": {32: 1, 1000: 1}}), ("lidar.rings", {"uniform": [16, 64]}), ("lidar.rings", 32.5),
        ("gnss.bias_time", 0), ("weather.sun_elevation.day", {"normal": [20, 7]}), ("town.lamp_spacing", 0),
        ("weather.rain.day", 0.5), ("weather.rain.day", {"uniform": [0, 1]}), ("rig.square_fov", 2),
        ("layout.kind", {"choice": {"castle": 1}}), ("layout.kind", 3), ("town.kerb_prop", {"choice": {"tank": 1}}),
        ("people.figures", 0), ("people.figures", {"choice": {"many": 1}}), ("rig.fov", {"chance": 0.5}),
        ("camera.gamma", float("nan")), ("camera.gamma", True), ("camera.gamma", "2.2"), ("camera.gamma", None),
        ("traffic.kind", {"choice": {"car": 0}}), ("street.between_bends", {"exponential": 5000}),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_by_its_name(key, value):
    refused(key, value)


def test_names_of_one_entry_may_be_used_in_another_of_the_same_kind_and_zone_entries_have_their_own():
    entries = {"town.kerb_prop": {"choice": {"container": 1}}, "street.parking_suburban": {"choice": {"across": 1}}}
    drawn = config(entries).distributions
    assert drawn.draw(np.random.default_rng(0), "town.kerb_prop") == "container"
    assert drawn.choose(np.random.default_rng(0), "traffic.kind", ["bike"]) == "bike"
    only = config({"traffic.kind": {"choice": {"car": 1}}}).distributions
    assert only.choose(np.random.default_rng(0), "traffic.kind", ["bike", "car"]) == "car"
    assert only.choose(np.random.default_rng(0), "traffic.kind", ["bike"]) == "bike"
    named = {name for key in ("town.kerb_prop_industrial", "town.yard_prop") for name in ENTRIES[key]["choice"]}
    assert named <= set(PROPS)


@settings(deadline=None, max_examples=400)
@given(
    st.sampled_from(sorted(ENTRIES)),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(KINDS), inner, min_size=1, max_size=2)
            | st.dictionaries(st.sampled_from(["car", "bike", "day"]) | st.integers(-9, 99), inner, max_size=3)
        ),
        max_leaves=5,
    ),
)
def test_nonsense_is_refused_or_draws_values_within_the_limits(key, value):
    try:
        drawn = config({key: value}).distributions
    except ValueError as error:
        if not str(error).startswith("distributions: "):
            raise
        return
    rng = np.random.default_rng(0)
    values = [drawn.draw(rng, key) for _ in range(20)]
    if key in NUMBERS:
        low, high = NUMBERS[key]
        assert all(low - 1e-9 <= v <= high * (1 + 1e-9) + 1e-9 for v in values)
    elif isinstance(ENTRIES[key], dict) and "choice" in ENTRIES[key]:
        assert all(isinstance(v, str) for v in values)
    else:
        assert all(v in (0, 1) for v in values)


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(sorted(NUMBERS)), st.data())
def test_within_the_limits_every_kind_of_number_is_taken(key, data):
    low, high = NUMBERS[key]
    a, b = sorted(data.draw(st.tuples(*[st.floats(low, high)] * 2)))
    whole = isinstance(ENTRIES[key], int) or (isinstance(ENTRIES[key], dict) and "integer" in ENTRIES[key])
    if whole or key in ("lidar.rings", "pedestrians.group_size", "traffic.bike_group"):
        config({key: {"integer": [int(np.ceil(a)), max(int(np.ceil(a)), int(b))]}})
    else:
        config({key: {"uniform": [a, b]}})
        config({key: {"choice": {a: 1, b: 2}}})
        config({key: {"normal": [(a + b) / 2, (b - a) / 6.001]}})


@pytest.mark.parametrize("end", [0, 1])
def test_a_sequence_is_made_with_every_sensor_and_weather_entry_at_its_limit(end):
    sections = ("weather.", "rig.", "lidar.", "imu.", "gnss.", "camera.", "vehicles.")
    entries = {key: ends[end] for key, ends in NUMBERS.items() if key.startswith(sections)}
    entries |= {"people.figures": 2, "pedestrians.parties": 1, "rig.square_fov": 0, "lidar.rings": 32}
    runner = SequenceRunner(config(entries, weather="rain", layout="straight", traffic=0.1))
    try:
        sample = runner.sample(0)
    finally:
        runner.release()
    assert all(image.shape == (32, 64, 3) for image in sample.frame.images.values())
    assert np.isfinite(sample.frame.lidar).all()
    assert np.isfinite([sample.gnss.latitude, sample.gnss.longitude, *sample.imu.linear_acceleration]).all()
