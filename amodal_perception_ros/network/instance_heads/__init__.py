"""Instance heads by the name a network configuration gives them."""

from amodal_perception_ros.network.instance_heads.fields import InstanceFields
from amodal_perception_ros.network.instance_heads.head import InstanceHead, InstanceMaps, Matched

INSTANCE_HEADS: dict[str, type[InstanceHead]] = {"fields": InstanceFields}
"""Each is built from a `NetworkConfig`."""

__all__ = ["INSTANCE_HEADS", "InstanceHead", "InstanceMaps", "Matched"]
