"""With `--published-only`, tests that need more than the published API must fail, each for a reason that is listed."""

from pathlib import Path

import pytest

from tests.acceptance.published_only import OTHERS, REASONS

_HERE = Path(__file__).parent
_PATIENCE_S = 40  # some wait for what never comes


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--published-only"):
        return
    for item in items:
        if item.path.parent == _HERE and item.path.name in OTHERS:
            item.add_marker(pytest.mark.skip(reason="it is not about the main job"))
        elif item.path.parent == _HERE:
            whole = f"{item.path.name}::{item.name}"
            reason = REASONS.get(whole) or REASONS.get(whole.partition("[")[0])
            if reason is not None:
                item.add_marker(pytest.mark.xfail(reason=reason, strict=True))
                item.add_marker(pytest.mark.timeout(_PATIENCE_S, func_only=True))
