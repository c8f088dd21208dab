"""Changes of files are noticed at once."""

import asyncio
from pathlib import Path

from flash_cli.dev.watching import watch
from tests.support.balanced import until


def test_what_matters_is_noticed_and_nothing_else(tmp_path: Path) -> None:
    async def test() -> None:
        looked_at: set[str] = set()  # since the last notice
        ever: set[str] = set()
        notices: list[frozenset[str]] = []

        def matters(path: Path) -> bool:
            looked_at.add(path.name)
            ever.add(path.name)
            return path.suffix == ".py"

        def noticed() -> None:
            notices.append(frozenset(looked_at))
            looked_at.clear()

        watching = asyncio.create_task(watch(tmp_path, matters, noticed))
        (tmp_path / "sub").mkdir()

        def edited() -> bool:  # the watch takes a moment to begin
            (tmp_path / "a.py").write_text(str(len(notices)))
            return bool(notices)

        await until(edited)
        for number in range(5):  # the first may come together with an edit
            (tmp_path / "sub" / f"{number}.txt").write_text("1")
            await until(lambda: f"{number}.txt" in ever)  # noqa: B023 - awaited here
        (tmp_path / "sub" / "b.py").write_text("1")
        await until(lambda: any("b.py" in each for each in notices))
        assert all(any(name.endswith(".py") for name in each) for each in notices)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)

    asyncio.run(asyncio.wait_for(test(), 30))
