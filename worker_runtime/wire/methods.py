"""The methods that a route can have, and the paths that it cannot."""

WEBSOCKET = "WEBSOCKET"
"""The method of a route that is a websocket."""

BODY_METHODS = ("POST", "PUT", "PATCH", "DELETE")
"""Those whose parameters are fields of a JSON body."""

METHODS = ("GET", *BODY_METHODS)

RESERVED = ("/ping", "/execute", "/docs", "/redoc", "/openapi.json")
"""Paths that no route may have: the server has them for itself, or Runpod's workers have."""
