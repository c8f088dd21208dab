"""The ground floor: what the client, the control plane and the worker say to each other.

Standard library and cloudpickle only. `specs` describes artifacts and worker launches, `jobs` describes calls
and their outcomes, `payload` is the only file that pickles, `frames` is the byte stream between processes and `paths`
names what lies inside an artifact.
"""

PROTOCOL = 1
"""Version of everything in this package. Sides of different versions refuse each other before user data moves."""
