"""Changes of files are noticed at once."""

import asyncio
from pathlib import Path

from flash_cli.dev.watching import watch
from tests.support.balanced import until


def test_what_matters_is_noticed_and_nothing_else(tmp_path: Path) -> None:
    async def test() -> None:
        noticed: list[int] = []
        watching = asyncio.create_task(watch(tmp_path, lambda path: path.suffix == ".py", lambda: noticed.append(1)))
        (tmp_path / "sub").mkdir()

        def edited() -> bool:  # the watch takes a moment to begin
            (tmp_path / "a.py").write_text(str(len(noticed)))
            return bool(noticed)

        await until(edited)
        await asyncio.sleep(0)
        seen = len(noticed)
        (tmp_path / "data.txt").write_text("1")
        (tmp_path / "sub" / "b.py").write_text("1")
        await until(lambda: len(noticed) > seen)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)

    asyncio.run(asyncio.wait_for(test(), 30))
