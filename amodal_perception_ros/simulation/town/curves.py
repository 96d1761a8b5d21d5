"""Plane curves of the town generator: winding axes, smooth joins, rounded corners."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def winding(rng: np.random.Generator, length: float, bends: Sequence[tuple[float, float, float]]) -> np.ndarray:
    """Return (n, 2) points 2 m apart of a curve from the origin that sets out along x.

    Args:
        rng: draws the signs of the bends.
        length: of the curve [m].
        bends: (start, length, angle) of each bend [m, m, rad > 0]; its sign is drawn, opposite to the last one's
            with probability 0.7. Curvature rises and falls smoothly (a squared sine) inside a bend.
    """
    s = np.linspace(0, length, int(np.ceil(length / 2)) + 1)
    curvature, sign = np.zeros_like(s), 1.0 if rng.random() < 0.5 else -1.0
    for start, extent, angle in bends:
        u = (s - start) / extent
        curvature += np.where((u > 0) & (u < 1), sign * angle * 2 / extent * np.sin(np.pi * u) ** 2, 0.0)
        sign *= -1.0 if rng.random() < 0.7 else 1.0
    step = np.diff(s)
    heading = np.concatenate([[0.0], np.cumsum(0.5 * (curvature[1:] + curvature[:-1]) * step)])
    middle = 0.5 * (heading[1:] + heading[:-1])
    legs = step[:, None] * np.stack([np.cos(middle), np.sin(middle)], 1)
    return np.concatenate([np.zeros((1, 2)), np.cumsum(legs, 0)])


def turned(points: np.ndarray, heading: float, origin: np.ndarray | None = None) -> np.ndarray:
    """Return the points turned about the origin [rad], then moved so that (0, 0) comes to `origin`."""
    c, s = np.cos(heading), np.sin(heading)
    out = points @ np.array([[c, s], [-s, c]])
    return out if origin is None else out + origin


def join(start: np.ndarray, heading: float, end: np.ndarray, end_heading: float, step: float = 0.8) -> np.ndarray:
    """Return the inner points of a cubic curve between two poses; for equal legs it is close to a circular arc."""
    turn = abs((end_heading - heading + np.pi) % (2 * np.pi) - np.pi)
    chord = float(np.linalg.norm(end - start))
    reach = chord / 3 if turn < 1e-3 else chord * 2 / 3 * np.tan(turn / 4) / np.sin(turn / 2)
    a = start + reach * np.array([np.cos(heading), np.sin(heading)])
    b = end - reach * np.array([np.cos(end_heading), np.sin(end_heading)])
    u = np.linspace(0, 1, max(3, int(np.ceil(1.2 * chord / step))) + 1)[1:-1, None]
    return (1 - u) ** 3 * start + 3 * u * (1 - u) ** 2 * a + 3 * u**2 * (1 - u) * b + u**3 * end


def turn_between(start: np.ndarray, heading: float, end: np.ndarray, end_heading: float, widest: float) -> np.ndarray:
    """Return the inner points of a way that goes straight on from both poses and turns in between.

    The turn is close to a circular arc that touches both lines, of at most radius `widest` [m].
    """
    a, b = np.array([np.cos(heading), np.sin(heading)]), np.array([np.cos(end_heading), np.sin(end_heading)])
    turn = abs((end_heading - heading + np.pi) % (2 * np.pi) - np.pi)
    first, second = np.linalg.solve(np.stack([a, b], 1), end - start)
    cut = min(first, second, widest * np.tan(turn / 2))
    p, q = start + (first - cut) * a, end - (second - cut) * b
    ends = [p[None]] if first - cut > 0.05 else []
    tail = [q[None]] if second - cut > 0.05 else []
    return np.concatenate([*ends, join(p, heading, q, end_heading), *tail])


def rounded(corners: np.ndarray, radius: float, closed: bool = False) -> np.ndarray:
    """Return a polyline whose corners are circular arcs of at most `radius` [m], points at most 0.8 m apart there."""
    n = len(corners)
    out = [] if closed else [corners[:1]]
    for k in range(n) if closed else range(1, n - 1):
        before, at, after = corners[k - 1], corners[k], corners[(k + 1) % n]
        a, b = at - before, after - at
        la, lb = float(np.hypot(*a)), float(np.hypot(*b))
        a, b = a / la, b / lb
        turn = abs(np.arctan2(a[0] * b[1] - a[1] * b[0], a @ b))
        cut = min(radius * np.tan(turn / 2), 0.499 * la, 0.499 * lb)
        p, q = at - cut * a, at + cut * b
        inner = join(p, float(np.arctan2(a[1], a[0])), q, float(np.arctan2(b[1], b[0])))
        out.append(np.concatenate([p[None], inner, q[None]]))
    if not closed:
        out.append(corners[-1:])
    points = np.concatenate([*out, out[0][:1]] if closed else out)
    return points[np.concatenate([[True], np.hypot(*np.diff(points, axis=0).T) > 1e-6])]


def arc(center: np.ndarray, radius: float, start: float, end: float, step: float = 0.8) -> np.ndarray:
    """Return points of a circular arc from angle `start` to `end` [rad], ends included."""
    count = max(2, int(np.ceil(abs(end - start) * radius / step)) + 1)
    angle = np.linspace(start, end, count)
    return np.asarray(center) + radius * np.stack([np.cos(angle), np.sin(angle)], 1)
