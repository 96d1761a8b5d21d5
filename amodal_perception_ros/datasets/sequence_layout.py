"""Where the files of a sequence are."""

from __future__ import annotations

from pathlib import Path

SPLITS = ("train", "val", "test")

BEV_CAMERA = "bev"
"""Name under which the picture from above lies among the cameras."""

_PER_CAMERA = (
    "images",
    "amodal_panoptic_seg",
    "depth",
    "amodal_depth",
    "flow",
    "amodal_instance_seg",
    "semantic_seg",
    "amodal_semantic_seg_for_flow",
    "amodal_motion_seg",
)
_OF_BEV_CAMERA = ("images", "panoptic_seg", "semantic_seg")
_PER_FRAME = ("frames", "bboxes", "lidar", "bev")


class Layout:
    """Paths of the files of one sequence below a base folder."""

    def __init__(self, base: Path, sequence: str) -> None:
        self.base, self.sequence = base, sequence

    def folders(self, cameras: list[str]) -> list[Path]:
        """Return the folders of the sequence, relative to the base."""
        per_camera = [Path(kind, camera, self.sequence) for kind in _PER_CAMERA for camera in cameras]
        of_bev = [Path(kind, BEV_CAMERA, self.sequence) for kind in _OF_BEV_CAMERA]
        return per_camera + of_bev + [Path(kind, self.sequence) for kind in _PER_FRAME]

    def marker(self) -> Path:
        """Description of the finished sequence; a sequence without it is not finished."""
        return self.base / "sequences" / f"{self.sequence}.json"

    def image(self, camera: str, frame: int) -> Path:
        """JPEG picture."""
        return self._camera_file("images", camera, frame, "rgb.jpg")

    def labels(self, camera: str, frame: int) -> Path:
        """Visible segments, uint16 PNG."""
        return self._camera_file("amodal_panoptic_seg", camera, frame, "ampano.png")

    def masks(self, camera: str, frame: int) -> Path:
        """Amodal segments, JSON."""
        return self._camera_file("amodal_panoptic_seg", camera, frame, "ampano.json")

    def levels(self, camera: str, frame: int) -> Path:
        """Occlusion level to segment ids, JSON."""
        return self._camera_file("amodal_panoptic_seg", camera, frame, "rel.json")

    def depth(self, camera: str, frame: int) -> Path:
        """Visible depth, uint16 PNG."""
        return self._camera_file("depth", camera, frame, "depth.png")

    def level_depth(self, camera: str, frame: int, level: int) -> Path:
        """Depth of all objects of a level, uint16 PNG."""
        return self._camera_file("amodal_depth", camera, frame, f"amdepth_{level}.png")

    def instance_depth(self, camera: str, frame: int, segment: int) -> Path:
        """Depth of one object over the box of its amodal mask, uint16 PNG."""
        return self._camera_file("amodal_depth", camera, frame, f"amdepth_{segment}.png")

    def flow(self, camera: str, frame: int) -> Path:
        """Forward optical flow, uint16 RGB PNG."""
        return self._camera_file("flow", camera, frame, "flow.png")

    def instances(self, camera: str, frame: int) -> Path:
        """Amodal instances, JSON; the PNG of visible things beside it has the same name."""
        return self._camera_file("amodal_instance_seg", camera, frame, "aminseg.json")

    def semantic(self, camera: str, frame: int) -> Path:
        """Visible class ids, uint8 PNG."""
        return self._camera_file("semantic_seg", camera, frame, "seg.png")

    def amodal_semantic(self, camera: str, frame: int) -> Path:
        """List of the amodal class maps of the levels, JSON in a folder of its own."""
        folder = self.base / "amodal_semantic_seg_for_flow" / camera / self.sequence / f"{frame:04d}"
        return folder / f"{camera}_full_{frame:04d}_amsemseg.json"

    def motion(self, camera: str, frame: int) -> Path:
        """Amodal motion segmentation, uint8 PNG."""
        return self._camera_file("amodal_motion_seg", camera, frame, "ammotseg.png")

    def bev_labels(self, frame: int) -> Path:
        """Segments seen from above, uint16 PNG."""
        return self._camera_file("panoptic_seg", BEV_CAMERA, frame, "pano.png")

    def frame(self, frame: int) -> Path:
        """Stamps, odometry, IMU, GNSS, moving things and BEV geometry, JSON."""
        return self._frame_file("frames", frame, "frame.json")

    def boxes(self, frame: int) -> Path:
        """3-D boxes, JSON."""
        return self._frame_file("bboxes", frame, "bboxes.json")

    def lidar(self, frame: int) -> Path:
        """LiDAR sweep, NPZ."""
        return self._frame_file("lidar", frame, "lidar.npz")

    def bev(self, frame: int) -> Path:
        """BEV grids, RGBA PNG."""
        return self._frame_file("bev", frame, "bev.png")

    def _camera_file(self, kind: str, camera: str, frame: int, suffix: str) -> Path:
        return self.base / kind / camera / self.sequence / f"{camera}_full_{frame:04d}_{suffix}"

    def _frame_file(self, kind: str, frame: int, suffix: str) -> Path:
        return self.base / kind / self.sequence / f"full_{frame:04d}_{suffix}"
