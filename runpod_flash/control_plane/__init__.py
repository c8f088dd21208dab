"""The platform, a program of its own: `python -m runpod_flash.control_plane`. Nothing imports it."""
