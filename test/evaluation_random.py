"""Random small scenes and predictions for property tests, and changes to scenes that keep or lower their quality."""

from dataclasses import replace

import numpy as np
from evaluation_scenes import HEIGHT, WIDTH, Thing, order, street, without
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from amodal_perception_ros.masks import RoiMask

NAMES = ("car", "truck", "person", "bus", "rider")
INVENTED = 60

quick = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)

boxes = st.tuples(st.integers(0, 27), st.integers(0, 19), st.integers(2, 12), st.integers(2, 10)).map(
    lambda b: (b[0], b[1], min(b[0] + b[2], WIDTH), min(b[1] + b[3], HEIGHT))
)
named_boxes = st.tuples(st.sampled_from(NAMES), boxes)


def numbered(rows, first=1):
    return [Thing(name, number, box, 5.0 + number) for number, (name, box) in enumerate(rows, first)]


streets = st.lists(named_boxes, min_size=1, max_size=6).map(numbered)


@st.composite
def predictions(draw, things):
    """Lose, move, rename and reorder some of the things, and invent others; every score is different."""
    found = []
    for thing in things:
        fate = draw(st.sampled_from(("found", "found", "moved", "moved", "lost", "renamed")))
        if fate == "moved":
            corners = np.add(thing.box, draw(st.tuples(*[st.integers(-1, 1)] * 4)))
            left, top, right, bottom = (int(v) for v in np.clip(corners, 0, (WIDTH, HEIGHT, WIDTH, HEIGHT)))
            thing = thing._replace(box=(left, top, max(right, left + 1), max(bottom, top + 1)))
        if fate == "renamed":
            thing = thing._replace(name=draw(st.sampled_from(NAMES)))
        if fate != "lost":
            found.append(thing._replace(depth=thing.depth + draw(st.sampled_from((0, 0, 1.5)))))
    found += numbered(draw(st.lists(named_boxes, max_size=2)), INVENTED)
    return scored(street(*found), draw(st.randoms(use_true_random=False)))


@st.composite
def truths(draw, things):
    """Draw the things; in some images the ground of the lowest rows is unlabelled."""
    scene = street(*things)
    rows = draw(st.sampled_from((HEIGHT, HEIGHT, HEIGHT // 2)))
    scene.labels[rows:][scene.labels[rows:] % 1000 == 0] = 0
    return scene


pairs = streets.flatmap(lambda things: st.tuples(truths(things), predictions(things)))


def scored(scene, random):
    ranks = random.sample(range(1, 100), len(scene.instances))
    return replace(scene, instances=[replace(i, score=rank / 100) for i, rank in zip(scene.instances, ranks)])


def relabelled(scene, random):
    """Give every instance another number of its class, and shuffle instances and edges."""
    numbers = random.sample(range(100, 900), len(scene.instances))
    new = {i.instance_id: i.class_id * 1000 + number for i, number in zip(scene.instances, numbers)}
    labels = scene.labels.copy()
    for old, name in new.items():
        labels[scene.labels == old] = name
    instances = [replace(i, instance_id=new[i.instance_id]) for i in scene.instances]
    edges = [(new[int(a)], new[int(b)]) for a, b in zip(scene.order.occluder_ids, scene.order.occludee_ids)]
    random.shuffle(instances)
    random.shuffle(edges)
    return replace(scene, labels=labels, instances=instances, order=order(edges))


def mirrored(scene):
    """Turn a scene over, left to right."""
    masks = [
        {k: getattr(i, k).to_array(HEIGHT, WIDTH)[:, ::-1] for k in ("visible_mask", "amodal_mask")}
        for i in scene.instances
    ]
    instances = [
        replace(i, depth=i.depth[:, ::-1], **{name: RoiMask.from_array(mask) for name, mask in of_instance.items()})
        for i, of_instance in zip(scene.instances, masks)
    ]
    return replace(scene, labels=scene.labels[:, ::-1], depth=scene.depth[:, ::-1], instances=instances)


def renamed(scene, instance, name):
    """Give one instance another class; its pixels keep theirs in the label image."""
    others = without(scene, instance.instance_id)
    label = Thing(name, INVENTED + 9, None, 0.0).id
    return replace(others, instances=[*others.instances, replace(instance, instance_id=label, class_id=label // 1000)])
