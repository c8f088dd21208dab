"""When endpoints were last used: in memory, and now and then on disk, for a control plane that starts anew."""

from collections.abc import Callable

from runpod_flash.control_plane.store import Store


class LastUses:
    """Times are seconds since the epoch. One of which nothing is known counts as used when it is first asked for."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._times: dict[str, float] = dict(store.read("SELECT endpoint, used_at FROM last_uses"))
        self._unsaved = set[str]()

    def of(self, endpoint: str) -> float:
        """When it was last used."""
        if endpoint not in self._times:
            self.note(endpoint)
        return self._times[endpoint]

    def note(self, endpoint: str) -> None:
        """It is used now."""
        self._times[endpoint] = self._clock()
        self._unsaved.add(endpoint)

    def forget(self, endpoint: str) -> None:
        """It is gone."""
        self._times.pop(endpoint, None)
        self._unsaved.discard(endpoint)

    async def save(self) -> None:
        """Write what is new. Raises StoreError."""
        unsaved, self._unsaved = self._unsaved, set()
        if unsaved:
            sql = "INSERT OR REPLACE INTO last_uses (endpoint, used_at) SELECT id, ? FROM endpoints WHERE id = ?"
            await self._store.write(*((sql, [self._times[each], each]) for each in unsaved if each in self._times))
