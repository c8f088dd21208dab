"""The HTTP faces of the control plane. They translate requests; rules live behind the `Platform`."""
