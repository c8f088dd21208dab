"""Two endpoints share files on a network volume: one prepares a data set, another one looks words up in it.

The volume stays: run it again, and the data set is found, not made. Nothing is downloaded; the text is this file.
"""

from pathlib import Path

from runpod_flash import Endpoint, NetworkVolume

library = NetworkVolume("library", size=10)

HERE = Path(__file__).parent
MOUNTED = Path("/runpod-volume")  # where workers see the volume


@Endpoint(name="indexer", cpu="cpu3c-1-2", volume=library)
def index(text: str) -> str:
    """Write, for each word of a text, in which lines it is; say whether that was done before."""
    import json

    target = MOUNTED / "index" / text.replace(".txt", ".json")
    if target.exists():
        return "was there"
    lines_of: dict[str, list[int]] = {}
    for number, line in enumerate((MOUNTED / "texts" / text).read_text().splitlines(), 1):
        for word in set(line.lower().split()):
            lines_of.setdefault(word.strip('.,:;"()'), []).append(number)
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(lines_of))
    return "made"


@Endpoint(name="searcher", cpu="cpu3c-1-2", volume=library)
class Search:
    """Looks words up. The index is read once for each object."""

    def __init__(self, text: str) -> None:
        import json

        self.lines_of = json.loads((MOUNTED / "index" / text).with_suffix(".json").read_text())

    def lines(self, word: str) -> list[int]:
        """The lines of the text that have a word."""
        found: list[int] = self.lines_of.get(word.lower(), [])
        return found


def main() -> None:
    """Bring a text to the volume, index it, look words up, fetch the index."""
    library.put(HERE / "04_shared_volume.py", "/texts/example.txt")
    print("the index", index.remote("example.txt"))

    search = Search("example")
    for word in ("volume", "worker"):
        print(f"{word}: lines {search.lines.remote(word)}")

    library.get("/index/example.json", HERE / "output" / "example.json")
    print("on the volume:", ", ".join(f"{entry.path} ({entry.kind})" for entry in library.list()))


if __name__ == "__main__":
    main()
