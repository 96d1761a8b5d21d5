"""What an entry of the distributions may give: the lowest and highest values that the simulator works with.

`distributions.py` checks every entry against it when a sequence's settings are made.
"""

from __future__ import annotations

from math import inf

ZONES = ("_suburban", "_industrial")
"""An entry whose name ends so replaces the plain one in that zone, and has its limits."""

FLAGS = ("weather.rain.", "weather.wet.")
"""Entries that are true or false though the file gives some of them as 0; every `chance` is one as well."""

SAME_NAMES = (
    ("town.kerb_prop", "town.yard_prop", "town.strip_prop_kind"),
    ("town.garden_front", "town.yard_front"),
    ("scenery.street_trees", "scenery.garden_trees"),
    ("scenery.city_buildings", "scenery.suburb_buildings", "scenery.industrial_buildings"),
    ("parking.car", "parking.long", "traffic.kind"),
)
"""Entries that choose among the same names: each may give what the file names in any of them."""

LIMITS: dict[str, tuple[float, float]] = {
    "weather.sun_elevation": (1, 90),
    "weather.haze": (0, 5),
    "weather.ambient": (0.05, 10),
    "weather.sky_tint": (0.1, 3),
    "weather.fog_density": (0, 20),
    "weather.clouds": (0, 10),
    "weather.cloud_scale": (0.05, 20),
    "weather.puddles": (0, 1),
    "weather.rainfall": (0, 1),
    "weather.wear": (0, 1),
    "weather.lamp_warmth": (0, 1),
    "layout.crossing_angle": (50, 130),
    "layout.roundabout_arms": (2, 5),
    "layout.roundabout_radius": (11, 45),
    "layout.roundabout_lane": (3.5, 9),
    "layout.lot_length": (34, 150),
    "layout.lot_aisles": (1, 4),
    "layout.lot_bays_per_island": (2, 1000),
    "layout.lot_building_depth": (10, 60),
    "street.lane_width": (2.4, 5),
    "street.bike_lane_width": (1, 4),
    "street.sidewalk": (1.4, 12),
    "street.speed_limit": (1, 40),
    "street.parking_along": (2.0, 3.5),
    "street.parking_across": (4.8, 7),
    "street.parking_long": (2.6, 4.5),
    "street.zebras": (0, 6),
    "street.corner_radius": (2, 14),
    "street.bend_length": (15, 250),
    "street.bend_radius": (18, 100000),
    "street.between_bends": (0, 1000),
    "street.green_main": (6, 300),
    "street.green_side": (6, 300),
    "town.plot_width": (6, 200),
    "town.setback": (0.2, 40),
    "town.yard_props": (0, 60),
    "town.lamp_spacing": (5, 1000),
    "town.lamp_height": (3, 20),
    "town.tree_spacing": (3, 1000),
    "town.prop_spacing": (2, 1000),
    "town.island_trees": (0, 60),
    "town.group_spacing": (2, 1000),
    "rig.fov": (20, 150),
    "rig.camera_height": (0.6, 5),
    "rig.camera_pitch": (-45, 45),
    "rig.camera_roll": (-45, 45),
    "rig.camera_tilt": (-45, 45),
    "rig.camera_yaw": (-45, 45),
    "rig.camera_offset": (-0.5, 0.5),
    "rig.lidar_height": (0.5, 5),
    "lidar.rings": (1, 256),
    "lidar.range_noise": (0, 1),
    "lidar.divergence": (0, 0.05),
    "lidar.grazing_noise": (0, 10),
    "lidar.half_range": (1, 10000),
    "lidar.dropout": (0, 1),
    "lidar.intensity_noise": (0, 2),
    "lidar.backscatter": (0, 10),
    "imu.gyro_noise": (0, 10),
    "imu.gyro_bias": (-10, 10),
    "imu.accelerometer_noise": (0, 100),
    "imu.accelerometer_bias": (-100, 100),
    "imu.orientation_noise": (0, 1),
    "gnss.latitude": (-85, 85),
    "gnss.longitude": (-180, 180),
    "gnss.altitude": (-500, 20000),
    "gnss.noise": (0, 100),
    "gnss.bias": (0, 1000),
    "gnss.bias_time": (0.1, 1e6),
    "camera.exposure": (0.01, 100),
    "camera.metering": (0, 1),
    "camera.white_balance": (0.1, 5),
    "camera.headroom": (0.5, 100),
    "camera.shot_noise": (0, 1),
    "camera.read_noise": (0, 1),
    "camera.softness": (0, 20),
    "camera.glare": (0, 1),
    "camera.vignetting": (0, 1),
    "camera.distortion": (-0.1, 0.1),
    "camera.colour_fringe": (-0.1, 0.1),
    "camera.contrast": (-1, 2),
    "camera.gamma": (0.5, 5),
    "camera.black_level": (0, 1),
    "camera.saturation": (0, 5),
    "camera.sharpening": (0, 10),
    "camera.lens_drops": (0, 200),
    "camera.jpeg_quality": (1, 100),
    "people.figures": (1, 100),
    "people.runners": (0, 20),
    "people.height_man": (1.2, 2.3),
    "people.height_woman": (1.2, 2.3),
    "people.height_teenager": (1.2, 2.0),
    "people.height_child": (0.8, 1.5),
    "people.height_child_rider": (0.9, 1.5),
    "people.girth": (0.5, 2),
    "pedestrians.parties": (0, 300),
    "pedestrians.groups": (0, 100),
    "pedestrians.group_size": (1, 8),
    "pedestrians.waiting": (0, 20),
    "pedestrians.crossing": (0, 100),
    "pedestrians.crossing_speed": (0.4, 2.6),
    "pedestrians.reaction": (0, 20),
    "pedestrians.step_outs": (0, 100),
    "pedestrians.step_out_speed": (0.4, 2.6),
    "pedestrians.run_speed": (1, 3),
    "pedestrians.speed": (0.2, 3),
    "traffic.spacing": (4, 10000),
    "traffic.speed": (0.2, 3),
    "traffic.bike_speed": (1, 12),
    "traffic.bike_group": (1, 8),
    "traffic.ego_speed": (1, 40),
    "traffic.ego_free_road": (0, 500),
    "traffic.ego_sway": (0, 0.4),
    "parking.group": (0, 1000),
    "parking.break": (0, 1000),
    "parking.double_parked": (0, 20),
    "parking.rack_spacing": (1, 10000),
    "parking.rack_bikes": (0, 30),
    "parking.rack_motorcycles": (0, 30),
    "vehicles.paint_brightness": (0, 3),
    "fleet.car_models": (1, 20),
    "fleet.truck_models": (1, 20),
    "fleet.bus_models": (1, 20),
    "fleet.bike_models": (1, 20),
    "fleet.motorcycle_models": (1, 20),
    "occlusion.tries": (0, 5000),
    "occlusion.most_planted": (0, 300),
}
"""Lowest and highest number; the units are those of `distributions.yaml`."""


def plain(key: str) -> str:
    """Return the name under which an entry has its limits: without its zone."""
    for zone in ZONES:
        key = key.removesuffix(zone)
    return key


def limits(key: str) -> tuple[float, float]:
    """Return the limits of an entry, or of the group that it belongs to; infinite for one that gives no numbers."""
    return LIMITS.get(plain(key)) or LIMITS.get(key.rpartition(".")[0], (-inf, inf))
