"""A load-balanced worker as users write them: an HTTP server on PORT, without the worker package."""

import asyncio
import os

import uvicorn
from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import StreamingResponse

app = FastAPI()


@app.get("/ping")
async def ping():
    return {"status": "healthy"}


@app.api_route("/mirror/{path:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"], status_code=201)
async def mirror(path: str, request: Request):
    body = await request.body()
    return {
        "method": request.method,
        "path": path,
        "query": str(request.url.query),
        "size": len(body),
        "start": body[:20].decode(),
        "type": request.headers.get("content-type"),
    }


@app.get("/words")
async def words(last: str):
    async def spoken():
        yield "first\n"
        while not os.path.exists(last):
            await asyncio.sleep(0.02)
        yield "last\n"

    return StreamingResponse(spoken(), media_type="text/plain")


@app.get("/broken")
async def broken():
    raise RuntimeError("broken on purpose")


@app.websocket("/echo")
async def echo(socket: WebSocket):
    await socket.accept()
    async for text in socket.iter_text():
        await socket.send_text(text.upper())


if __name__ == "__main__":
    uvicorn.run(app, host="0.0.0.0", port=int(os.environ["PORT"]))
