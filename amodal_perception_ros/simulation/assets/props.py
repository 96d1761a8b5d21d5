"""What stands beside a street and hides things: the table of all props, with their classes and largest footprints.

Every prop's `add` has the form `add(mesh, rng, x, y, z, yaw) -> (length, width)`: it puts the prop on the ground height
z [m] at odom position (x, y) [m], along heading yaw [rad], and returns its footprint along and across yaw [m], centred
at (x, y). Its front (opening, panel, seat) looks to local -y, like that of buildings.

Classes follow the definitions of Cityscapes: stops, sheds, stalls, containers and scaffolds are buildings; solid
upright bodies that are no buildings are walls; slats, rails, lattices and barriers are fences; thin posts are poles;
commercial panels are no traffic signs. Furniture that Cityscapes leaves unlabelled takes the class nearest in shape.

| class | props |
|---|---|
| building | bus shelter, container, kiosk, scaffold, shed, toilet, market stall |
| wall | skip, advertising pillar, panel of a billboard, cabinet, wheelie bins, pallets, boulder, trough of a planter |
| fence | bench, construction fence, barrier, guard rail, lattice of a trellis |
| pole | bollard, litter bin, bicycle rack, cone, posts of a billboard and of a market stall |
| vegetation | plants of a planter, climbers on a trellis |
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from amodal_perception_ros.simulation.assets import furniture, occluders
from amodal_perception_ros.simulation.assets.materials import BUILDING, FENCE, POLE, WALL
from amodal_perception_ros.simulation.assets.meshes import MeshBuilder


@dataclass(frozen=True)
class Prop:
    """One kind of prop.

    Attributes:
        add: builds one and returns its footprint, see above.
        class_id: class of its outline on the ground.
        length, width: largest footprint it may have [m], for keeping a place free.
    """

    add: Callable[[MeshBuilder, np.random.Generator, float, float, float, float], tuple[float, float]]
    class_id: int
    length: float
    width: float


PROPS: dict[str, Prop] = {
    "bus shelter": Prop(occluders.add_bus_shelter, BUILDING, 5.0, 1.8),
    "container": Prop(occluders.add_container, BUILDING, 12.19, 2.44),
    "kiosk": Prop(occluders.add_kiosk, BUILDING, 4.0, 2.8),
    "scaffold": Prop(occluders.add_scaffold, BUILDING, 8.8, 1.0),
    "shed": Prop(occluders.add_shed, BUILDING, 3.4, 2.6),
    "toilet": Prop(occluders.add_toilet, BUILDING, 1.14, 1.14),
    "market stall": Prop(occluders.add_market_stall, BUILDING, 3.8, 2.4),
    "skip": Prop(occluders.add_skip, WALL, 4.6, 1.9),
    "advertising pillar": Prop(occluders.add_advertising_pillar, WALL, 1.4, 1.4),
    "billboard": Prop(occluders.add_billboard, WALL, 4.4, 0.3),
    "pallets": Prop(occluders.add_pallets, WALL, 1.2, 0.8),
    "boulder": Prop(occluders.add_boulder, WALL, 2.2, 2.2),
    "cabinet": Prop(furniture.add_cabinet, WALL, 1.8, 0.42),
    "wheelie bins": Prop(furniture.add_wheelie_bins, WALL, 2.64, 0.68),
    "planter": Prop(furniture.add_planter, WALL, 2.2, 0.8),
    "bench": Prop(furniture.add_bench, FENCE, 2.2, 0.56),
    "construction fence": Prop(furniture.add_construction_fence, FENCE, 3.4, 0.7),
    "barrier": Prop(furniture.add_barrier, FENCE, 5.4, 0.5),
    "guard rail": Prop(furniture.add_guard_rail, FENCE, 8.0, 0.18),
    "trellis": Prop(furniture.add_trellis, FENCE, 3.0, 0.5),
    "bollard": Prop(furniture.add_bollard, POLE, 0.21, 0.21),
    "litter bin": Prop(furniture.add_litter_bin, POLE, 0.5, 0.5),
    "bicycle rack": Prop(furniture.add_bicycle_rack, POLE, 5.4, 0.78),
    "cone": Prop(furniture.add_cone, POLE, 0.4, 0.4),
}
"""Every prop by name."""
