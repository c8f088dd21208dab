"""Who asks, and whether they may: the one place where the faces look at principals."""

from runpod_flash.control_plane.api.asked import Scoped
from runpod_flash.control_plane.api.bodies import header
from runpod_flash.control_plane.catalog import Catalog
from runpod_flash.control_plane.platform import Sees
from runpod_flash.control_plane.principals import NO_KEY, OWNER, PRINCIPAL, Need, Principal
from runpod_flash.control_plane.problems import Problem
from runpod_flash.control_plane.records import EndpointRecord
from runpod_flash.errors import EndpointNotFound


def principal_of(connection: Scoped) -> Principal:
    """Whose request this is. Raises Problem: 401, nobody's; the middleware has let it through for its path."""
    found = connection.scope.get(PRINCIPAL)
    if not isinstance(found, Principal):
        raise Problem(401, NO_KEY, code="AuthError")
    return found


def client_of(connection: Scoped) -> str | None:
    """The event stream that shall hear of what a request submits (its header X-Flash-Client), None without one.

    Raises:
        Problem: 400, the header cannot be a client's id.
    """
    client = header(connection, "X-Flash-Client")
    return None if client is None else stream_of(connection, client)


def stream_of(connection: Scoped, client: str) -> str:
    """The event stream of this client, apart from those of all other users, whatever their clients are called.

    Raises:
        Problem: 400, a client's id has no "/".
    """
    if "/" in client:
        raise Problem(400, f"the client's id is {client!r:.80}; there must be no '/' in it")
    user = principal_of(connection).user
    return client if user == OWNER else streams_of(user) + client


def streams_of(user: str) -> str:
    """How the names of a user's event streams begin; those of the owner have no "/"."""
    return f"{user}/"


class Access:
    """Finds endpoints for those who may have them."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def endpoint(self, connection: Scoped, need: Need, endpoint_id: str | None = None) -> EndpointRecord:
        """The endpoint that the path (or `endpoint_id`) names.

        Raises:
            EndpointNotFound: there is none, or it is somebody else's: the two cannot be told apart.
            Problem: 403, the key is not for this, or a worker's and the endpoint is of another project.
        """
        asked = connection.scope["path_params"]["endpoint"] if endpoint_id is None else endpoint_id
        return self.endpoint_of(principal_of(connection), need, asked)

    def endpoint_of(self, principal: Principal, need: Need, asked: str) -> EndpointRecord:
        """The endpoint with this id, for this principal. Raises as `endpoint` does."""
        record = self._catalog.get(asked)
        if not principal.sees(record.owner, record.id):
            raise EndpointNotFound(f"there is no endpoint {asked!r:.80}; it may have been deleted")
        self.check(principal, need)
        if need is Need.MANAGE:
            self.check_project(principal, record.project)
        return record

    def sees(self, connection: Scoped) -> Sees:
        """Which endpoints, by their ids, there are for the one who asks."""
        return self.seen_by(principal_of(connection))

    def seen_by(self, principal: Principal) -> Sees:
        """Which endpoints, by their ids, there are for this principal."""

        def seen(endpoint_id: str) -> bool:
            owner = self._catalog.owner(endpoint_id)
            return owner is not None and principal.sees(owner, endpoint_id)

        return seen

    @staticmethod
    def check(principal: Principal, need: Need) -> None:
        """Raise Problem (403) where the key's scope does not allow this."""
        if not principal.may(need):
            raise Problem(403, f"a key of scope '{principal.scope}' cannot do this", code="AuthError")

    @staticmethod
    def check_project(principal: Principal, project: str) -> None:
        """Raise Problem (403) where a worker's code wants to make, change or delete an endpoint of another project."""
        if principal.project not in (None, project):
            raise Problem(
                403,
                "the key of a worker makes, changes and deletes endpoints of its own project only",
                code="AuthError",
            )
