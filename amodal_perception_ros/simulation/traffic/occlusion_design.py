"""Designed occlusion: the scene is changed until what the ego vehicle sees comes near a wanted histogram.

Published data take occlusion as it comes. Here standing things are planted where something hides them in part, and
standing things are taken away, one change after the other; a change stays when it brings the counts of occlusion
ratios and levels nearer to the wanted shares (total variation distance).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from amodal_perception_ros.simulation.assets import poses
from amodal_perception_ros.simulation.assets.figures import draw_palette
from amodal_perception_ros.simulation.assets.meshes import Model
from amodal_perception_ros.simulation.config import Stream
from amodal_perception_ros.simulation.rendering.raycasting import RayCaster
from amodal_perception_ros.simulation.traffic.boxes import outline, overlap
from amodal_perception_ros.simulation.traffic.fleet import Look
from amodal_perception_ros.simulation.traffic.occlusion_survey import RATIO_BINS, Histograms, Instant, OcclusionSurvey
from amodal_perception_ros.simulation.traffic.things import PERSON, REACH, Population, Thing
from amodal_perception_ros.simulation.traffic.walkable import Walkable

EYE_HEIGHT = 1.75
SURVEYED = 4
"""Frames at which the view is looked at, spread over the sequence."""

GAP = 0.15
"""Least distance of a planted thing from everything else [m]."""

_LEAST_GAIN = 1e-4
_ATTEMPTS = 12


@dataclass(frozen=True, eq=False)
class Design:
    """What was changed: planted and removed things, and the distance to the wanted shares before and after, 0..2."""

    planted: int
    removed: int
    before: float
    after: float


class Target:
    """Wanted shares of occlusion ratios and levels (`occlusion.ratio`, `occlusion.level` of the distributions)."""

    def __init__(self, population: Population) -> None:
        ratio, level = (population.distributions.weights(f"occlusion.{name}") for name in ("ratio", "level"))
        self.ratios = _shares(np.array([ratio[name] for name in RATIO_BINS]))
        self.levels = _shares(np.array([level[str(number)] for number in range(8)]))

    def distance(self, found: Histograms) -> float:
        """Return the sum of the total variation distances of both histograms, 0..2."""
        return 0.5 * float(
            np.abs(_shares(found.ratios) - self.ratios).sum() + np.abs(_shares(found.levels) - self.levels).sum()
        )


def _shares(counts: np.ndarray) -> np.ndarray:
    return counts / max(1e-9, float(counts.sum()))


def design_occlusion(population: Population, ego: np.ndarray, caster: RayCaster) -> Design | None:
    """Plant and remove standing things; None where the sequence is left as it is (`occlusion.designed`).

    Args:
        population: complete, with all trajectories; its `things` are changed.
        ego: (rows, 4) poses of base_link in odom.
        caster: of the town.
    """
    rng = population.config.stream(Stream.OCCLUSION)
    distributions = population.distributions
    if not distributions.draw(rng, "occlusion.designed"):
        return None
    frames = np.unique(np.linspace(0, population.config.frames - 1, SURVEYED).round().astype(int))
    survey = OcclusionSurvey(caster, {int(f): ego[f, :3] + (0, 0, EYE_HEIGHT) for f in frames})
    for instant in survey.instants:
        for thing in population.things:
            if np.hypot(*(thing.poses[instant.frame, :2] - instant.origin[:2])) < REACH:
                instant.alone[thing.track_id] = survey.hits(instant, thing.item(instant.frame))
    designer = _Designer(population, survey, Target(population), rng)
    before = designer.score
    tries, most = (int(distributions.draw(rng, f"occlusion.{name}")) for name in ("tries", "most_planted"))
    for _ in range(tries):
        if rng.random() < 0.5:
            designer.try_removing()
        elif designer.planted < most:
            designer.try_planting()
    population.things = [thing for thing in population.things if thing.track_id not in designer.gone]
    return Design(designer.planted, len(designer.gone), before, designer.score)


class _Designer:
    def __init__(
        self, population: Population, survey: OcclusionSurvey, target: Target, rng: np.random.Generator
    ) -> None:
        self.population, self.survey, self.target, self.rng = population, survey, target, rng
        self.score = target.distance(survey.histograms({}))
        self.planted, self.gone = 0, set[int]()
        self._removable = [thing.track_id for thing in population.things if _stands(thing)]
        self._people = [thing for thing in population.things if thing.class_id == PERSON]
        boxes = [thing.ground_boxes() for thing in population.things]
        self._boxes = np.array(boxes).reshape(-1, population.rows, 5)
        self._ground = Walkable([footprint.corners for footprint in population.town.footprints])

    def try_removing(self) -> None:
        """Take a random standing thing away if that brings the counts nearer."""
        if not self._removable:
            return
        track = self._removable[int(self.rng.integers(len(self._removable)))]
        score = self.target.distance(self.survey.histograms({}, {track}))
        if score < self.score - _LEAST_GAIN:
            self.score = score
            self.gone.add(track)
            self._removable.remove(track)
            for instant in self.survey.instants:
                instant.alone.pop(track, None)

    def try_planting(self) -> None:
        """Put something behind an occluder if there is room and that brings the counts nearer."""
        class_id, models, palette = self._somebody()
        box = self._room(models[0])
        if box is None:
            return
        x, y, yaw = (float(v) for v in box[:3])
        z = float(self.population.town.ground_height(np.array([x, y])))
        thing = self.population.add(class_id, models, palette, (x, y, z, yaw))
        if thing is None:
            return
        hits = [self.survey.hits(instant, thing.item(instant.frame)) for instant in self.survey.instants]
        score = self.target.distance(self.survey.histograms({thing.track_id: hits}))
        if score >= self.score - _LEAST_GAIN:
            self.population.things.pop()
            return
        self.score, self.planted = score, self.planted + 1
        self._boxes = np.concatenate([self._boxes, np.broadcast_to(box, (1, *self._boxes.shape[1:]))])
        for instant, found in zip(self.survey.instants, hits):
            instant.alone[thing.track_id] = found

    def _room(self, model: Model) -> np.ndarray | None:
        """Find room for a model behind something that a ray meets between knee and head height.

        Returns:
            Its ground rectangle with `GAP` around it (x, y, yaw, length, width), or None.
        """
        rng = self.rng
        instant = self.survey.instants[int(rng.integers(len(self.survey.instants)))]
        nearest = _nearest(instant)
        height = instant.origin[2] + nearest * instant.directions[:, 2]
        flat = nearest * np.hypot(*instant.directions[:, :2].T)
        useful = np.flatnonzero((height > 0.4) & (height < 2.2) & (flat > 3) & (flat < 40))
        reach = 2 * np.maximum(np.abs(model.low), np.abs(model.high))[:2] + 2 * GAP
        for _ in range(_ATTEMPTS if len(useful) else 0):
            ray = int(useful[rng.integers(len(useful))])
            away = nearest[ray] + float(rng.uniform(0.5, 5.0))
            point = instant.origin[:2] + away * instant.directions[ray, :2]
            box = np.array([*point, float(rng.uniform(-np.pi, np.pi)), *reach])
            if self._ground.clearance(outline(box)).min() > 0 and self._is_off_lanes(box) and not self._is_taken(box):
                return box
        return None

    def _is_off_lanes(self, box: np.ndarray) -> bool:
        corners = outline(box)
        routes = self.population.town.ways.routes
        return all((np.abs(route.path.local(corners)[1]) > route.width / 2).all() for route in routes)

    def _is_taken(self, box: np.ndarray) -> bool:
        """Whether anything is within a ground rectangle at any time."""
        apart = np.hypot(*np.moveaxis(self._boxes[..., :2] - box[:2], -1, 0))
        near = apart < 0.5 * (np.hypot(*np.moveaxis(self._boxes[..., 3:], -1, 0)) + np.hypot(*box[3:]))
        return bool(overlap(self._boxes[near], box).any())

    def _somebody(self) -> Look:
        kind = self.population.distributions.draw(self.rng, "occlusion.planted")
        if kind == "person" and self._people:
            like = self._people[int(self.rng.integers(len(self._people)))]
            pose = int(self.rng.integers(min(len(like.models), len(poses.STANDING))))
            return PERSON, (like.models[pose],), draw_palette(self.rng)
        return self.population.fleet.parked(self.rng, "bike" if kind == "person" else kind)


def _nearest(instant: Instant) -> np.ndarray:
    """Range of the nearest surface along every ray [m]."""
    nearest = np.where(np.isfinite(instant.town), instant.town, 1e3)
    for rays, ranges in instant.alone.values():
        nearest[rays] = np.minimum(nearest[rays], ranges)
    return nearest


def _stands(thing: Thing) -> bool:
    """Whether a thing stays where it is and may be taken away without leaving half of something."""
    return not thing.driven and np.ptp(thing.poses[:, :2], axis=0).max() < 0.05
