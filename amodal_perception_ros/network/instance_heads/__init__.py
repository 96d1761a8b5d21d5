"""Instance heads by the name a network configuration gives them."""

from amodal_perception_ros.network.config import NetworkConfig
from amodal_perception_ros.network.instance_heads.fields import InstanceFields
from amodal_perception_ros.network.instance_heads.guided_depth import GuidedDepth
from amodal_perception_ros.network.instance_heads.head import InstanceHead, InstanceMaps, Matched, Window
from amodal_perception_ros.network.instance_heads.independent import IndependentMasks
from amodal_perception_ros.network.instance_heads.level_depth import LevelDepth, LevelDepthSemantics
from amodal_perception_ros.network.instance_heads.occluder_layers import OccluderLayers
from amodal_perception_ros.network.instance_heads.occlusion_layers import OcclusionLayers
from amodal_perception_ros.network.instance_heads.orcnn import ORCNN
from amodal_perception_ros.network.instance_heads.visible import VisibleOnly

INSTANCE_HEADS: dict[str, type[InstanceHead]] = {
    "fields": InstanceFields,
    "visible": VisibleOnly,
    "independent": IndependentMasks,
    "orcnn": ORCNN,
    "occluder_layers": OccluderLayers,
    "occlusion_layers": OcclusionLayers,
    "level_depth": LevelDepth,
    "level_depth_semantics": LevelDepthSemantics,
    "guided_depth": GuidedDepth,
}
"""Each is built from a `NetworkConfig`."""


def make_instance_head(config: NetworkConfig) -> InstanceHead:
    """Build the instance head that a configuration names."""
    return INSTANCE_HEADS[config.instance_head](config)


__all__ = ["INSTANCE_HEADS", "InstanceHead", "InstanceMaps", "Matched", "Window", "make_instance_head"]
