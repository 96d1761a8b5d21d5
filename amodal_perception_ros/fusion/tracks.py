"""Objects over time: tracks in odom that live on while nobody sees them (object permanence).

In each set the tracks are predicted (`filter`) and detections are assigned to them (`association`). Those detected are
corrected; the sensors are asked about the places of the others (`visibility`). From both follows how probable it is
that they are there (`existence`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from amodal_perception_ros.fusion import existence, filter
from amodal_perception_ros.fusion.association import associate
from amodal_perception_ros.fusion.boxes import rotated_covariance
from amodal_perception_ros.fusion.evidence import ObjectEvidence
from amodal_perception_ros.fusion.filter import HEADING, TURN, VX, VY, Gaussians, Measurements, Noise, X, Y
from amodal_perception_ros.fusion.geometry import transform, yaw_of
from amodal_perception_ros.fusion.objects import PlacedObject, height_variance, lines_of_sight, sight_stddevs
from amodal_perception_ros.fusion.priors import ELONGATED
from amodal_perception_ros.fusion.visibility import Boxes, SensorViews
from amodal_perception_ros.labels import BY_NAME
from amodal_perception_ros.scene import UNKNOWN_VARIANCE, AmodalObject, largest_stddev


class _Motion(NamedTuple):
    """Densities of acceleration [m^2/s^3] and turn acceleration [rad^2/s^3], and typical speed [m/s]."""

    acceleration: float
    turn: float
    speed: float


_MOTION: dict[int, _Motion] = {
    BY_NAME["person"].id: _Motion(0.2, 0.0, 1.5),
    BY_NAME["rider"].id: _Motion(1.0, 0.0, 4.0),
    BY_NAME["bike"].id: _Motion(1.0, 0.1, 4.0),
    BY_NAME["motorcycle"].id: _Motion(2.0, 0.1, 8.0),
    BY_NAME["car"].id: _Motion(2.0, 0.1, 8.0),
    BY_NAME["truck"].id: _Motion(2.0, 0.05, 8.0),
    BY_NAME["bus"].id: _Motion(2.0, 0.05, 8.0),
}

_FIT_STDDEV, _FIT_SHARE = 0.1, 0.05
_HEADING_OFFSET = 0.3
_MIN_POINTS = 8
_SIDEWAYS_SPEED = 1.0
_TURN_STDDEV = 0.3
_ANY_HEADING = 0.9
_TURN_AFTER_M, _SURE_AFTER_M = 1.0, 5.0
_VELOCITY_AFTER = 3
_VOTE_MEMORY = 0.95
_MOST_SIZES = 30.0


@dataclass(frozen=True)
class TrackConfig:
    """Behaviour of the tracks.

    Attributes:
        memory_s: time constant with which the existence of an object that is not detected decays [s].
        min_existence: a track that exists with a smaller probability is dropped.
        gate: probability with which the detection of a track lies inside its gate.
        max_tracks: most tracks; the least probable ones are dropped.
    """

    memory_s: float = 8.0
    min_existence: float = 0.1
    gate: float = 0.99
    max_tracks: int = 256

    def __post_init__(self) -> None:
        if not self.memory_s > 0:
            raise ValueError(f"memory_s is {self.memory_s}; it must be positive")
        for name in ("min_existence", "gate"):
            if not 0.0 < getattr(self, name) < 1.0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be between 0 and 1")
        if self.max_tracks < 1:
            raise ValueError(f"max_tracks is {self.max_tracks}; it must be at least 1")


@dataclass(eq=False)
class Track:
    """One object over time.

    Attributes:
        track_id: unique as long as the tracker lives, from 1.
        votes: class id -> faded sum of the scores with which it was detected.
        mean, cov: (6,) and (6, 6) state in odom, see `filter`.
        size: (3,) length, width, height [m], the mean over the detections.
        height, height_variance: z of the box's centre in odom [m] and its variance [m^2], of the last detection.
        existence: probability that the object is there.
        sizes: weight behind `size`.
        size_stddev: (3,) standard deviation of the size in the last detection [m].
        forwards: way along the heading less way against it, at most 5 [m].
        detections: sets in which it was detected.
        standing: it stood when it was last detected.
        last_seen_ns: stamp of the last set in which a part of it was visible, 0 for none.
        detection: what was detected in this set, or None.
    """

    track_id: int
    votes: dict[int, float]
    mean: np.ndarray
    cov: np.ndarray
    size: np.ndarray
    existence: float
    height: float = 0.0
    height_variance: float = UNKNOWN_VARIANCE
    sizes: float = 0.0
    size_stddev: np.ndarray = field(default_factory=lambda: np.full(3, np.nan))
    forwards: float = 0.0
    detections: int = 0
    standing: bool = False
    last_seen_ns: int = 0
    detection: PlacedObject | None = None

    @property
    def class_id(self) -> int:
        """The class with most votes."""
        return max(self.votes, key=lambda label: self.votes[label])

    @property
    def center(self) -> np.ndarray:
        """(3,) centre of the box in odom [m]."""
        return np.array([self.mean[0], self.mean[1], self.height])

    @property
    def yaw(self) -> float:
        """Heading [rad] in (-pi, pi]: a vehicle's own; people who walk face where they go."""
        heading = self.mean[HEADING]
        if self.class_id not in ELONGATED and not self.standing and np.hypot(*self.mean[VX : VY + 1]) > 0.3:
            heading = np.arctan2(self.mean[VY], self.mean[VX])
        return float(np.arctan2(np.sin(heading), np.cos(heading)))

    def to_object(self) -> AmodalObject:
        """Return the track as an object in odom; its velocity is NaN before the third detection."""
        is_vehicle, evidence = self.class_id in ELONGATED, self.detection.evidence if self.detection else None
        moves = self.detections >= _VELOCITY_AFTER
        covariance = self._pose_covariance()
        return AmodalObject(
            track_id=self.track_id,
            class_id=self.class_id,
            existence_probability=float(np.clip(self.existence, 0.0, 1.0)),
            center=self.center,
            size=self.size.copy(),
            yaw=self.yaw,
            velocity=np.array([self.mean[VX], self.mean[VY], 0.0]) if moves else np.full(3, np.nan),
            position_stddev=largest_stddev(covariance),
            visible_fraction=evidence.visible_fraction if evidence else 0.0,
            cameras=evidence.cameras if evidence else (),
            last_seen_ns=self.last_seen_ns,
            covariance=covariance,
            size_stddev=self.size_stddev.copy(),
            yaw_rate=float(self.mean[TURN]) if moves and is_vehicle else float("nan"),
        )

    def _pose_covariance(self) -> np.ndarray:
        """(6, 6) as `AmodalObject.covariance`: the state's x, y and, of vehicles, heading; the last detection's z."""
        covariance = np.diag(np.full(6, UNKNOWN_VARIANCE))
        state, places = ((X, Y, HEADING), (0, 1, 5)) if self.class_id in ELONGATED else ((X, Y), (0, 1))
        covariance[np.ix_(places, places)] = self.cov[np.ix_(state, state)]
        covariance[2, 2] = self.height_variance
        return covariance


class Tracker:
    """Follows the objects of one drive. Deterministic; not thread-safe.

    Args:
        config: behaviour.

    Attributes:
        tracks: the objects, by ascending id.
        dropped: tracks that were given up because there were too many.
    """

    def __init__(self, config: TrackConfig | None = None) -> None:
        self.config = config or TrackConfig()
        self.tracks: list[Track] = []
        self.dropped = 0
        self._last_id = 0

    def clear(self) -> None:
        """Forget all objects; their ids are not given again."""
        self.tracks = []

    def update(
        self, placed: Sequence[PlacedObject], pose: np.ndarray, stamp_ns: int, seconds: float, views: SensorViews
    ) -> None:
        """Take the objects of one set.

        Instances without a track id get that of their object's track; those that have one keep it.

        Args:
            placed: what was detected, in base_link; boxes that are not finite are left out.
            pose: (4, 4) odom_from_base.
            stamp_ns: stamp of the set.
            seconds: time since the last set, 0 or more.
            views: what the sensors of the set see.
        """
        detections = [one for one in placed if np.isfinite(one.box.center).all() and np.isfinite(one.box.size).all()]
        self._predict(seconds)
        seen = _measure(detections, pose)
        matched, used = self._associate(detections, seen)
        self._correct([self.tracks[k] for k in matched], _take(seen, used), seconds)
        for k, j in zip(matched, used):
            _note(self.tracks[k], detections[j], pose, stamp_ns)
        self._judge([track for track in self.tracks if track.detection is None], views)
        fresh = sorted(set(range(len(detections))) - set(used.tolist()))
        self.tracks += [self._start(detections[j], _take(seen, np.array([j])), pose, stamp_ns) for j in fresh]
        self._prune()
        for track in self.tracks:
            for instance in track.detection.evidence.instances if track.detection else ():
                instance.track_id = instance.track_id or track.track_id

    def _predict(self, seconds: float) -> None:
        decayed = existence.after(
            np.array([track.existence for track in self.tracks]),
            np.array([track.detections for track in self.tracks], np.int64),
            seconds,
            self.config.memory_s,
        )
        motion = [_MOTION[track.class_id] for track in self.tracks]
        noise = Noise(np.array([one.acceleration for one in motion]), np.array([one.turn for one in motion]))
        noise = filter.quieter(noise, np.array([track.standing for track in self.tracks], bool))
        _write(self.tracks, filter.predict(_states(self.tracks), noise, seconds))
        for track, probability in zip(self.tracks, decayed):
            track.existence, track.detection = float(probability), None

    def _associate(self, detections: list[PlacedObject], seen: Measurements) -> tuple[np.ndarray, np.ndarray]:
        states = _states(self.tracks)
        return associate(
            seen.position[None] - states.mean[:, None, :2],
            states.cov[:, None, :2, :2] + seen.position_cov[None],
            np.array([track.existence for track in self.tracks]),
            np.array([track.class_id for track in self.tracks], np.int64),
            np.array([one.evidence.class_id for one in detections], np.int64),
            self.config.gate,
        )

    def _correct(self, tracks: list[Track], seen: Measurements, seconds: float) -> None:
        """Correct detected tracks; a vehicle that has gone backwards for long is one whose front was its back."""
        vehicle = np.array([track.class_id in ELONGATED for track in tracks], bool)
        states = filter.update(_states(tracks), seen, vehicle)
        standing = filter.is_standing(states)
        states = filter.hold(states, standing)
        way = np.array([track.forwards for track in tracks]) + ~standing * filter.forward_speed(states) * seconds
        backwards = vehicle & (way < -_TURN_AFTER_M)
        _write(tracks, filter.turned(states, backwards))
        for track, one, stands in zip(tracks, np.where(backwards, -way, way), standing):
            track.forwards, track.standing = float(min(one, _SURE_AFTER_M)), bool(stands)

    def _judge(self, tracks: list[Track], views: SensorViews) -> None:
        """Ask the sensors about the places where undetected objects may be.

        Places seen empty lose their weight in the state too: the same place does not speak against the object twice.
        """
        states = _states(tracks)
        bias = _fit_stddev(np.array([track.size[0] for track in tracks], np.float64))
        positions, weights = filter.sigma_positions(states, bias)
        count = positions.shape[1]
        heights = np.repeat([track.height for track in tracks], count)[:, None]
        boxes = Boxes(
            np.concatenate([positions.reshape(-1, 2), heights], axis=1),
            np.repeat(np.array([track.size for track in tracks]).reshape(-1, 3), count, axis=0),
            np.repeat(np.array([track.yaw for track in tracks], np.float64), count),
            np.repeat(np.array([track.class_id for track in tracks], np.int64), count),
        )
        likelihood = existence.likelihood_of_sight(views.look_at(boxes).empty, boxes.class_ids)
        joint = weights * likelihood.reshape(-1, count)
        probability = existence.undetected(np.array([track.existence for track in tracks]), joint.sum(axis=1))
        _write(tracks, filter.reweigh(states, bias, positions, joint))
        for track, value in zip(tracks, probability):
            track.existence = float(value)

    def _start(self, detection: PlacedObject, seen: Measurements, pose: np.ndarray, stamp_ns: int) -> Track:
        self._last_id += 1
        class_id, score = detection.evidence.class_id, detection.evidence.score
        motion, heading = _MOTION[class_id], float(seen.heading[0])
        is_vehicle, known = class_id in ELONGATED, np.isfinite(seen.heading_stddev[0])
        cov = np.zeros((filter.DIMENSION, filter.DIMENSION))
        cov[:2, :2] = seen.position_cov[0]
        sideways = _SIDEWAYS_SPEED if is_vehicle and known else motion.speed
        cov[VX : VY + 1, VX : VY + 1] = rotated_covariance(np.array([[motion.speed, sideways]]), np.array([heading]))[0]
        cov[HEADING, HEADING] = (float(seen.heading_stddev[0]) if known else _ANY_HEADING) ** 2
        cov[TURN, TURN] = _TURN_STDDEV**2 if is_vehicle else 0.0
        mean = np.array([*seen.position[0], 0.0, 0.0, heading, 0.0])
        first = float(existence.detected(np.zeros(1), np.array([score]))[0])
        track = Track(self._last_id, {class_id: 0.0}, mean, cov, np.array(detection.box.size, np.float64), first)
        _note(track, detection, pose, stamp_ns, first)
        return track

    def _prune(self) -> None:
        """Drop what is improbable, what stands for an object that has another track, and what is too many."""
        kept = [track for track in self.tracks if track.existence >= self.config.min_existence or track.detection]
        detected = [track for track in kept if track.detection]
        kept = [track for track in kept if track.detection or not any(_is_same(track, one) for one in detected)]
        excess = len(kept) - self.config.max_tracks
        if excess > 0:
            self.dropped += excess
            kept = sorted(kept, key=lambda track: -track.existence)[: self.config.max_tracks]
        self.tracks = sorted(kept, key=lambda track: track.track_id)


def _states(tracks: Sequence[Track]) -> Gaussians:
    size = filter.DIMENSION
    mean = np.array([track.mean for track in tracks]).reshape(-1, size)
    return Gaussians(mean, np.array([track.cov for track in tracks]).reshape(-1, size, size))


def _write(tracks: Sequence[Track], states: Gaussians) -> None:
    for track, mean, cov in zip(tracks, *states):
        track.mean, track.cov = mean, cov


def _take(seen: Measurements, index: np.ndarray) -> Measurements:
    return Measurements(*(values[index] for values in seen))


def _measure(detections: list[PlacedObject], pose: np.ndarray) -> Measurements:
    """Return where detections are in odom, and how exactly.

    Along the line of sight the error is that of the distance, across it at most 0.15 m; to both comes that of the
    box, whose unseen side is assumed: 0.1 m and a twentieth of its length. A heading is off by as much as 0.3 m at
    the ends; people's is unknown, and so is one from fewer than 8 points (`boxes.fit_box`).
    """
    turn = yaw_of(pose)
    centers = np.array([one.box.center for one in detections], np.float64).reshape(-1, 3)
    lengths = np.array([one.box.size[0] for one in detections], np.float64)
    place_stddevs = np.hypot(sight_stddevs(detections), _fit_stddev(lengths)[:, None])
    covs = rotated_covariance(place_stddevs, lines_of_sight(detections) + turn)
    headings = np.array([one.box.yaw for one in detections], np.float64) + turn
    known = np.array([_shows_heading(one.evidence) for one in detections], bool)
    heading_stddevs = np.where(known, 2.0 * _HEADING_OFFSET / lengths, np.inf)
    return Measurements(transform(centers, pose)[:, :2], covs, headings, heading_stddevs)


def _shows_heading(evidence: ObjectEvidence) -> bool:
    return evidence.class_id in ELONGATED and len(evidence.points) + len(evidence.lidar) >= _MIN_POINTS


def _fit_stddev(length: np.ndarray) -> np.ndarray:
    return _FIT_STDDEV + _FIT_SHARE * length


def _note(
    track: Track, detection: PlacedObject, pose: np.ndarray, stamp_ns: int, probability: float | None = None
) -> None:
    """Write into a track what a detection says besides place and heading."""
    evidence, box = detection.evidence, detection.box
    if probability is None:
        score = np.array([evidence.score])
        probability = float(existence.detected(np.array([track.existence]), score)[0])
    track.existence = probability
    track.votes = {label: _VOTE_MEMORY * votes for label, votes in track.votes.items()}
    track.votes[evidence.class_id] = track.votes.get(evidence.class_id, 0.0) + max(evidence.score, 1e-3)
    weight = 0.1 + evidence.visible_fraction
    track.sizes = min(track.sizes + weight, _MOST_SIZES)
    track.size = track.size + weight / track.sizes * (box.size - track.size)
    track.size_stddev = box.size_stddev
    track.height, track.height_variance = float(transform(box.center[None], pose)[0, 2]), height_variance(box)
    track.detections += 1
    track.detection = detection
    if evidence.visible_area:
        track.last_seen_ns = stamp_ns


def _is_same(lost: Track, found: Track) -> bool:
    """Whether an undetected track lies in the middle of a detected one of its class: two things cannot."""
    apart = float(np.hypot(*(lost.mean[:2] - found.mean[:2])))
    return lost.class_id == found.class_id and apart < 0.5 * found.size[1]
