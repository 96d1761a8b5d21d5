"""All that a town places besides its ground, in one name space: buildings, plants, posts, enclosures and props.

Front sides look to local -y. Colours of posts, fences, signs and props vary so that the hue does not tell the class.
"""

from amodal_perception_ros.simulation.buildings import BUILDING_FAMILIES, Family, add_building
from amodal_perception_ros.simulation.enclosures import add_fence, add_wall
from amodal_perception_ros.simulation.foliage import SEASONS
from amodal_perception_ros.simulation.furniture import add_bollard
from amodal_perception_ros.simulation.materials import BUILDING, FENCE, LIGHT, POLE, SIGN, VEGETATION, WALL
from amodal_perception_ros.simulation.poles import (
    LAMP_STYLES,
    LIGHT_STYLES,
    add_sign,
    add_street_lamp,
    add_traffic_light,
)
from amodal_perception_ros.simulation.props import PROPS, Prop
from amodal_perception_ros.simulation.shrubs import add_bush, add_hedge
from amodal_perception_ros.simulation.trees import SPECIES, add_tree

__all__ = [
    "BUILDING",
    "BUILDING_FAMILIES",
    "FENCE",
    "LAMP_STYLES",
    "LIGHT",
    "LIGHT_STYLES",
    "POLE",
    "PROPS",
    "SEASONS",
    "SIGN",
    "SPECIES",
    "VEGETATION",
    "WALL",
    "Family",
    "Prop",
    "add_bollard",
    "add_building",
    "add_bush",
    "add_fence",
    "add_hedge",
    "add_sign",
    "add_street_lamp",
    "add_traffic_light",
    "add_tree",
    "add_wall",
]
