"""Video from event cameras: networks, readers of sensor files, voxel grids and the command."""
