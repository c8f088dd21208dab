"""A small HTTP API for texts: several routes on shared workers, called from here and by any HTTP client.

FastAPI and uvicorn come into the workers' environment by themselves. A route function stays a plain function: called in
Python it runs here.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator

from pydantic import BaseModel, Field

from runpod_flash import Endpoint
from runpod_flash.errors import ResponseError

api = Endpoint(name="texts", cpu="cpu3c-1-2", workers=(1, 3))

POEM = "the rose is red the violet blue the honey sweet and so are you"


class Question(BaseModel):
    """What a client asks."""

    text: str = Field(min_length=1)
    top: int = Field(3, ge=1, le=20)


@api.post("/words")
async def words(question: Question) -> dict[str, int]:
    """The most frequent words."""
    return dict(Counter(question.text.split()).most_common(question.top))


@api.get("/repeat/{word}")
def repeat(word: str, times: int = 2) -> list[str]:
    """A word, several times."""
    return [word] * times


@api.post("/size")
async def size(document: bytes, name: str) -> dict[str, object]:
    """How large an uploaded file is."""
    return {"name": name, "bytes": len(document), "lines": document.count(b"\n")}


@api.get("/spell/{word}")
def spell(word: str) -> Iterator[str]:
    """A word, letter by letter, as it is spoken."""
    for letter in word:
        yield f"{letter}\n"


@api.get("/health")
async def health() -> dict[str, str]:
    """Whether all is well."""
    return {"status": "ok"}


async def main() -> None:
    """Call every route."""
    print("here:     ", await words(Question(text=POEM, top=2)))  # no worker: the plain function
    print("words:    ", await api.post("/words", {"text": POEM, "top": 2}))
    print("repeat:   ", await api.get("/repeat/ho", params={"times": 3}))
    print("size:     ", await api.post("/size", {"document": b"a\nb\n", "name": "ab.txt"}))  # bytes go as a file
    print("spell:    ", (await api.get("/spell/rose")).split())
    print("health:   ", await api.get("/health"))
    try:
        await api.post("/words", {"text": "", "top": 2})
    except ResponseError as error:
        print("refused:  ", error.status, error.body["detail"][0]["msg"])
    several = await asyncio.gather(*(api.get(f"/repeat/{number}") for number in range(20)))
    print("at a time:", len(several), "answers")
    print(f"\nAny HTTP client can ask, with the platform's key: curl -H 'Authorization: Bearer …' {api.url}/health")


if __name__ == "__main__":
    asyncio.run(main())
