"""What functions import, as their workers have told: the next worker may be forked from a process that has done so."""

from collections import OrderedDict
from collections.abc import Iterable

from runpod_flash.control_plane.fleet import Pool

_KEPT = 1000

Of = tuple[str, str]
"""An environment's key and an artifact's id."""


class LoadedModules:
    """Remembers the modules by environment and artifact, the latest ones."""

    def __init__(self) -> None:
        self._known: OrderedDict[Of, tuple[str, ...]] = OrderedDict()

    def note(self, pool: Pool, modules: Iterable[object]) -> bool:
        """A worker of the pool has imported these; whether that is news."""
        if pool.code is None:
            return False
        of, before = (pool.key.environment, pool.code.artifact), self.of(pool)
        named = tuple(module for module in modules if isinstance(module, str))
        self._known[of] = tuple(dict.fromkeys((*self._known.get(of, ()), *named)))
        self._known.move_to_end(of)
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)
        return self.of(pool) != before

    def of(self, pool: Pool) -> tuple[str, ...]:
        """What may be imported before a worker of the pool is forked: what its endpoint names, and what is known."""
        if pool.code is None:
            return ()
        known = self._known.get((pool.key.environment, pool.code.artifact), ())
        return tuple(dict.fromkeys((*pool.code.environment.preload, *known)))
