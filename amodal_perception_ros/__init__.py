"""Real-time amodal perception for vehicles and robots: the whole object, not only the part a camera sees."""

from pkgutil import extend_path

# The colcon build generates `amodal_perception_ros.msg` in the install space. Extending the path lets a
# program started from the source tree find those messages beside the hand-written modules.
__path__ = extend_path(__path__, __name__)

__version__ = "0.1.0"
