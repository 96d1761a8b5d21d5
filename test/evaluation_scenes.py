"""Small scenes for the tests of the metrics: flat rectangles in front of a road, hidden by painter's order."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from amodal_perception_ros.labels import BY_NAME, segment_id
from amodal_perception_ros.masks import RoiMask
from amodal_perception_ros.scene import Camera, CameraScene, Instance, OcclusionOrder

WIDTH, HEIGHT = 32, 24
ROAD_DEPTH = 50.0


class Thing(NamedTuple):
    """A rectangle left, top, right, bottom (exclusive) at a depth [m]."""

    name: str
    number: int
    box: tuple
    depth: float

    @property
    def id(self):
        return segment_id(BY_NAME[self.name].id, self.number)


def camera(width=WIDTH, height=HEIGHT, name="front"):
    intrinsics = np.array([[width / 2, 0, width / 2], [0, width / 2, height / 2], [0, 0, 1]], float)
    return Camera(name, width, height, intrinsics, np.eye(4))


def empty_scene(stuff="road", width=WIDTH, height=HEIGHT, name="front"):
    labels = np.full((height, width), BY_NAME[stuff].id * 1000, np.uint16)
    depth = np.full((height, width), ROAD_DEPTH, np.float32)
    return CameraScene(camera(width, height, name), 0, labels, depth)


def street(*things, **kwargs):
    """Draw things into an empty scene; the nearer one hides the farther one, equal depths keep the given order."""
    scene = empty_scene(**kwargs)
    height, width = scene.labels.shape
    free = np.ones((height, width), bool)
    visible, amodal = {}, {}
    for thing in sorted(things, key=lambda t: t.depth):
        mask = np.zeros((height, width), bool)
        left, top, right, bottom = thing.box
        mask[top:bottom, left:right] = True
        amodal[thing.id], visible[thing.id] = mask, mask & free
        free &= ~mask
        scene.labels[visible[thing.id]] = thing.id
        scene.depth[visible[thing.id]] = thing.depth
    levels, edges = {}, []
    for thing in sorted(things, key=lambda t: t.depth):
        hiding = [a for a in things if a.depth < thing.depth and (visible[a.id] & amodal[thing.id]).any()]
        levels[thing.id] = max((levels[a.id] + 1 for a in hiding), default=0)
        edges += [(a.id, thing.id) for a in hiding]
    scene.instances = [instance(t, visible[t.id], amodal[t.id], levels[t.id]) for t in things]
    scene.order = order(edges)
    return scene


LETTERS = {"C": ("car", 1), "D": ("car", 2), "E": ("car", 3), "T": ("truck", 4), "P": ("person", 5), "B": ("bike", 6)}
LETTERS |= {"R": ("rider", 7), "U": ("bus", 8)}
STUFF_LETTERS = {".": "road", "~": "sky", "_": "sidewalk", " ": None}


def letter_id(letter):
    """Instance id of a letter's object in `drawn`."""
    return Thing(*LETTERS[letter], None, 0.0).id


def drawn(visible, edges="", scale=1, **hidden):
    """Build the scene of a drawing, as the docstrings of the metrics show them.

    Args:
        visible: rows of letters: things by `LETTERS`, stuff by `STUFF_LETTERS`.
        edges: the occlusion order, as in "T>C P>T".
        scale: side [px] of the square that a character stands for.
        hidden: for a letter, rows with an "h" where the object is hidden; shorter rows are continued with nothing.
    """

    def mask(rows, letter):
        rows = rows.split("\n")
        cells = [[c == letter for c in row.ljust(width)] for row in rows] + [[False] * width] * (height - len(rows))
        return np.kron(np.array(cells), np.ones((scale, scale), bool))

    height, width = len(visible.split("\n")), max(map(len, visible.split("\n")))
    scene = empty_scene(width=width * scale, height=height * scale)
    for letter, stuff in STUFF_LETTERS.items():
        scene.labels[mask(visible, letter)] = segment_id(BY_NAME[stuff].id) if stuff else 0
    pairs = [tuple(edge.split(">")) for edge in edges.split()]
    for letter in sorted(set(visible) & set(LETTERS) | set(hidden)):
        level = longest_chain(letter, pairs)
        thing, seen = Thing(*LETTERS[letter], None, 10.0 + level), mask(visible, letter)
        scene.labels[seen], scene.depth[seen] = thing.id, thing.depth
        scene.instances.append(instance(thing, seen, seen | mask(hidden.get(letter, ""), "h"), level))
    return replace(scene, order=order([(letter_id(a), letter_id(b)) for a, b in pairs]))


def longest_chain(letter, pairs):
    return max((longest_chain(a, pairs) + 1 for a, b in pairs if b == letter), default=0)


def instance(thing, visible, amodal, level=0, score=1.0):
    mask = RoiMask.from_array(amodal)
    depth = np.where(mask.roi(), np.float32(thing.depth), np.float32(np.nan))
    seen = thing.depth if visible.any() else float("nan")
    return Instance(
        thing.id, BY_NAME[thing.name].id, score, RoiMask.from_array(visible), mask, level, seen, thing.depth, 0.0, depth
    )


def order(edges, in_cycle=None):
    count = len(edges)
    pairs = np.array(edges, np.uint32).reshape(count, 2)
    return OcclusionOrder(
        pairs[:, 0],
        pairs[:, 1],
        np.ones(count, np.float32),
        np.ones(count, np.uint32),
        np.zeros(count, bool) if in_cycle is None else np.array(in_cycle, bool),
    )


def without(scene, *ids):
    """Forget instances; their pixels stay in the label image, as a network with a semantic head would have it."""
    kept = [i for i in scene.instances if i.instance_id not in ids]
    edges = zip(scene.order.occluder_ids, scene.order.occludee_ids)
    return replace(scene, instances=kept, order=order([e for e in edges if not set(map(int, e)) & set(ids)]))


def with_instance(scene, thing, visible=None):
    """Add an instance that covers `thing.box`, all hidden unless told what is visible."""
    amodal = np.zeros(scene.labels.shape, bool)
    left, top, right, bottom = thing.box
    amodal[top:bottom, left:right] = True
    seen = np.zeros_like(amodal) if visible is None else visible & amodal
    return replace(scene, instances=[*scene.instances, instance(thing, seen, amodal, score=0.5)])
