"""Who asks, and whether they may: the one place where the faces look at principals."""

from typing import cast

from starlette.requests import HTTPConnection

from runpod_flash.control_plane.catalog import Catalog
from runpod_flash.control_plane.principals import Need, Principal
from runpod_flash.control_plane.problems import Problem
from runpod_flash.control_plane.records import EndpointRecord
from runpod_flash.errors import EndpointNotFound

PRINCIPAL = "flash.principal"
"""The key of the ASGI scope under which the middleware leaves the principal."""


def principal_of(connection: HTTPConnection) -> Principal:
    """Whose request this is; the middleware has let nobody else through."""
    return cast(Principal, connection.scope[PRINCIPAL])


class Access:
    """Finds endpoints for those who may have them."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def endpoint(self, connection: HTTPConnection, need: Need, endpoint_id: str | None = None) -> EndpointRecord:
        """The endpoint that the path (or `endpoint_id`) names.

        Raises:
            EndpointNotFound: there is none, or it is somebody else's: the two cannot be told apart.
            Problem: 403, the key is not for this.
        """
        asked = connection.path_params["endpoint"] if endpoint_id is None else endpoint_id
        record = self._catalog.get(asked)
        principal = principal_of(connection)
        if not principal.sees(record.owner, record.id):
            raise EndpointNotFound(f"there is no endpoint {asked!r:.80}; it may have been deleted")
        self.check(principal, need)
        return record

    @staticmethod
    def check(principal: Principal, need: Need) -> None:
        """Raise Problem (403) where the key's scope does not allow this."""
        if not principal.may(need):
            raise Problem(403, f"a key of scope '{principal.scope}' cannot do this", code="AuthError")
