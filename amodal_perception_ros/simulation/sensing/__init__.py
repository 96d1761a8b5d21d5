"""The sensor rig, what its LiDAR and inertial unit measure, and the truth of every picture and of the map."""
