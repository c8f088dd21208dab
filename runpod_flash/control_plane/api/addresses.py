"""Where a client reaches this server."""

from starlette.requests import Request


def url_for(request: Request, url: str) -> str:
    """The base URL for whoever made this request: its own, or `url` if it came by a unix socket, which has none."""
    server = request.scope.get("server")
    by_socket = server is not None and str(server[0]).startswith("/")
    return url if by_socket else str(request.base_url)
