"""A person's skeleton and linear blend skinning: one mesh takes many poses with the same triangles.

Skinning: Magnenat-Thalmann, Laperriere, Thalmann, "Joint-dependent local deformations for hand animation and object
grasping", Graphics Interface 1988. Person's frame: x forward, y left, z up, origin on the ground.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from amodal_perception_ros.simulation.assets.meshes import Material, MeshBuilder, Model, Part

SIDES = ("left", "right")
_LIMBS = [f"{bone}_{side}" for side in SIDES for bone in ("thigh", "shin", "foot", "upper", "fore", "carried")]
BONES = ("ground", "pelvis", "chest", "head", *_LIMBS)
"""`ground` never moves; `carried_*` hang at the wrists and stay upright."""

_PARENTS: dict[str, str | None] = {"ground": None, "pelvis": None, "chest": "pelvis", "head": "chest"}
for _side in SIDES:
    _PARENTS |= {f"thigh_{_side}": "pelvis", f"shin_{_side}": f"thigh_{_side}", f"foot_{_side}": f"shin_{_side}",
                 f"upper_{_side}": "chest", f"fore_{_side}": f"upper_{_side}", f"carried_{_side}": f"fore_{_side}"
                 }  # fmt: skip
INDEX = {bone: k for k, bone in enumerate(BONES)}

Weights = Callable[[np.ndarray], np.ndarray]
"""(n, 3) rest positions -> (n, bones) shares that sum to one."""


@dataclass(eq=False)
class Pose:
    """Turns of the bones against the standing rest pose, and where the pelvis is.

    Attributes:
        root: (3,) position of the pelvis joint [m].
        turns: bone -> (3, 3) rotation in the person's frame; missing ones are not turned.
    """

    root: np.ndarray
    turns: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Skeleton:
    """Rest positions of the joints: bone -> (3,) upper end of the bone [m]."""

    joints: dict[str, np.ndarray]

    def joint(self, pose: Pose, bone: str) -> np.ndarray:
        """Return the (3,) position of a bone's upper end in a pose."""
        parent = _PARENTS[bone]
        if parent is None:
            return pose.root if bone == "pelvis" else self.joints[bone]
        arm = self.joints[bone] - self.joints[parent]
        return self.joint(pose, parent) + (pose.turns[parent] @ arm if parent in pose.turns else arm)

    def matrices(self, pose: Pose) -> np.ndarray:
        """Return the (bones, 3, 4) transforms that take rest positions to posed ones."""
        out = np.zeros((len(BONES), 3, 4))
        for k, bone in enumerate(BONES):
            turn = pose.turns.get(bone, np.eye(3))
            out[k, :, :3], out[k, :, 3] = turn, self.joint(pose, bone) - turn @ self.joints[bone]
        return out


@dataclass(frozen=True, eq=False)
class Body:
    """A clothed person at rest with the bone shares of every vertex; `posed` makes the poses."""

    skeleton: Skeleton
    rest: Model
    weights: np.ndarray
    _first: np.ndarray = field(init=False)
    _corner: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        vertices = self.rest.vertices
        keys = np.concatenate([vertices["position"], vertices["normal"], self.weights], 1)
        # Corners that share position, normal and weights are moved once.
        rows = np.ascontiguousarray(keys).view(np.dtype((np.void, keys.dtype.itemsize * keys.shape[1]))).ravel()
        _, first, corner = np.unique(rows, return_index=True, return_inverse=True)
        object.__setattr__(self, "_first", first)
        object.__setattr__(self, "_corner", corner)

    def posed(self, pose: Pose) -> Model:
        """Return the model in a pose: the same triangles as `rest`, moved."""
        vertices, rest = self.rest.vertices.copy(), self.rest.vertices[self._first]
        matrices = self.skeleton.matrices(pose).reshape(len(BONES), 12).astype(np.float32)
        blended = (self.weights[self._first] @ matrices).reshape(-1, 3, 4)
        position = _turned(blended, rest["position"]) + blended[:, :, 3]
        normal = _turned(blended, rest["normal"])
        normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9
        vertices["position"], vertices["normal"] = position[self._corner], normal[self._corner]
        return Model(vertices, self.rest.ranges, position.min(0), position.max(0))


def _turned(matrices: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Return each of (n, 3) vectors turned by its own of (n, 3, >= 3) matrices."""
    return sum((matrices[:, :, k] * vectors[:, k, None] for k in range(3)), np.zeros(3, np.float32))


class BodyBuilder:
    """Collects the parts of a clothed person at rest, each bound to bones."""

    def __init__(self, skeleton: Skeleton) -> None:
        self.skeleton = skeleton
        self._mesh, self._weights = MeshBuilder(), list[Weights]()

    def add(self, part: Part, material: Material, weights: Weights) -> None:
        """Add a part of one material."""
        self.add_mixed(part, [material], np.zeros(len(part[1]), np.int64), weights)

    def add_mixed(self, part: Part, materials: list[Material], which: np.ndarray, weights: Weights) -> None:
        """Add a part whose face k has the material `materials[which[k]]`."""
        # The class number of a vertex is 0 for all movable things, so until `build` it can tell the part apart.
        self._mesh.add_mixed(part, materials, which, len(self._weights))
        self._weights.append(weights)

    def build(self) -> Body:
        """Return the person; its ambient occlusion is that of the rest pose."""
        rest = self._mesh.bake(occlusion=True)
        part = rest.vertices["cls"].astype(np.int64)
        shares = np.zeros((len(part), len(BONES)), np.float32)
        for k, weights in enumerate(self._weights):
            shares[part == k] = weights(rest.vertices["position"][part == k].astype(float))
        rest.vertices["cls"] = 0
        return Body(self.skeleton, rest, shares)


def rigid(bone: str) -> Weights:
    """Bind a part to one bone."""
    return lambda points: np.tile(np.eye(len(BONES))[INDEX[bone]], (len(points), 1))


def chain(bones: tuple[str, ...], heights: tuple[float, ...], blend: float) -> Weights:
    """Bind a part to bones from top to bottom; they share it within +-`blend` [m] of the heights between them."""

    def weights(points: np.ndarray) -> np.ndarray:
        out = np.zeros((len(points), len(BONES)))
        rest = np.ones(len(points))
        for bone, height in zip(bones, heights):
            above = rest * smooth((points[:, 2] - height + blend) / (2 * blend))
            out[:, INDEX[bone]] += above
            rest = rest - above
        out[:, INDEX[bones[-1]]] += rest
        return out

    return weights


def hanging(waist: float, hem: float, half_width: float) -> Weights:
    """Bind a skirt or coat: held at the waist, from there to the hem it follows the thigh of its side."""

    def weights(points: np.ndarray) -> np.ndarray:
        out = np.zeros((len(points), len(BONES)))
        thighs = 0.85 * smooth((waist - points[:, 2]) / (waist - hem))
        left = smooth(0.5 + 0.5 * points[:, 1] / half_width)
        out[:, INDEX["pelvis"]] = 1 - thighs
        out[:, INDEX["thigh_left"]], out[:, INDEX["thigh_right"]] = thighs * left, thighs * (1 - left)
        return out

    return weights


def smooth(x: np.ndarray) -> np.ndarray:
    """Return the smooth step from 0 at x <= 0 to 1 at x >= 1."""
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)
