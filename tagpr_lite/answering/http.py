"""The server's routes: chat completions, models, the histories, and the page that shows them."""
from __future__ import annotations

import asyncio
import hmac
import json
import queue
import traceback
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.requests import Request as Http
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from ..config import UserError
from ..lamp.tasks import Item, Question, Task
from ..runs import one_line
from .history import History, item_number
from .local import names_this_machine
from .protocol import (
    Answer,
    Asked,
    ProtocolError,
    asked,
    checked,
    label_in,
    models,
    text_of,
    user_of,
    word,
)
from .run import question_of
from .stream import ChainReader, TextStream
from .worker import Request, Worker

PAGE = Path(__file__).with_name("page.html")
MOST_BYTES = 1_000_000  # of a request's body
LOOK_EVERY = 0.5  # seconds between two looks whether the client is still there
HEADERS = {"Content-Security-Policy": "default-src 'none'; script-src 'unsafe-inline'; style-src "
                                      "'unsafe-inline'; connect-src 'self'; base-uri 'none'; form-action "
                                      "'none'; frame-ancestors 'none'",
           "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}


class Digits(StringConvertor):
    """The number of an item in an address. Starlette's own `int` fails on one of thousands of digits."""
    regex = "[0-9]+"


register_url_convertor("digits", Digits())


def application(worker: Worker, history: History, key: str, only_local: bool) -> Starlette:
    """The server. key: what a request must bring, "" for none. only_local: whether this machine alone is
    served: then a request must name it by one of its own names, so that no page of another site can reach it
    by a name that leads here."""
    server = Server(worker, history, key, only_local)
    routes = [Route(path, server.answered(work), methods=[method]) for method, path, work in (
        ("POST", "/v1/chat/completions", server.chat), ("GET", "/v1/models", server.models),
        ("GET", "/v1/models/{name}", server.model),
        ("GET", "/v1/history", server.items), ("POST", "/v1/history", server.add),
        ("PATCH", "/v1/history/{number:digits}", server.correct),
        ("DELETE", "/v1/history/{number:digits}", server.remove))]
    app = Starlette(routes=[*routes, Route("/", server.page)], exception_handlers={
        404: lambda *_: failed(ProtocolError(404, "there is nothing at this address")),
        405: lambda *_: failed(ProtocolError(405, "this address takes another method"))})
    app.router.redirect_slashes = False
    return app


def failed(error: ProtocolError) -> JSONResponse:
    return JSONResponse(error.body(), error.status)


class Server:
    """What the routes do."""

    def __init__(self, worker: Worker, history: History, key: str, only_local: bool):
        self.worker, self.history, self.key, self.only_local = worker, history, key, only_local
        self.run = worker.answerer.run

    def answered(self, work):
        """A route's function with its errors as the protocol has them."""
        async def route(http: Http) -> Response:
            try:
                self.allow(http)
                return await work(http)
            except ProtocolError as error:
                return failed(error)
            except UserError as error:
                return failed(ProtocolError(400, one_line(error)))
            except Exception:  # a fault of the program: whoever runs the server sees it, the client does not
                traceback.print_exc()
                return failed(ProtocolError(500, "the server has a fault; its own log says more"))
        return route

    def allow(self, http: Http) -> None:
        """ProtocolError: the request does not bring the key, calls this machine by another name, or comes
        from a page of another site, which a browser would send from here."""
        host = http.headers.get("host", "")
        if self.only_local and not names_this_machine(host):
            raise ProtocolError(403, "this server answers to 127.0.0.1 and localhost alone")
        origin = http.headers.get("origin")
        if origin is not None and origin.partition("://")[2].lower() != host.lower():
            raise ProtocolError(403, "a page of another site asks")
        given = http.headers.get("authorization", "").removeprefix("Bearer ")
        if self.key and not hmac.compare_digest(given.encode(), self.key.encode()):
            raise ProtocolError(401, "the key is missing or wrong", code="invalid_api_key")

    async def body(self, http: Http) -> bytes:
        content = b""
        async for part in http.stream():
            content += part
            if len(content) > MOST_BYTES:
                raise ProtocolError(413, f"the body has more than {MOST_BYTES:,} bytes")
        return content

    def task(self, name: str) -> Task:
        if name not in self.run.tasks:
            raise ProtocolError(404, f"there is no model {one_line(name, 60)!r}; there are "
                                     f"{', '.join(sorted(self.run.tasks))}", "model", "model_not_found")
        return self.run.tasks[name]

    # ------------------------------------------------------------ the page, models, histories

    async def page(self, http: Http) -> Response:
        return HTMLResponse(PAGE.read_text(encoding="utf-8"), headers=HEADERS)

    async def models(self, http: Http) -> Response:
        return JSONResponse(models(self.run.tasks, self.run.folder.name))

    async def model(self, http: Http) -> Response:
        task = self.task(http.path_params["name"])
        return JSONResponse(models({task.name: task}, self.run.folder.name)["data"][0])

    async def items(self, http: Http) -> Response:
        user, task = self.owner(dict(http.query_params))
        found = await asyncio.to_thread(self.history.items, user, task)
        return JSONResponse({"object": "list", "data": [shown(item) for item in found]})

    async def add(self, http: Http) -> Response:
        body = self.of_json(await self.body(http))
        user, task = self.owner(body)
        text = text_of([{"role": "user", "content": body.get("text")}])
        (item,) = await asyncio.to_thread(self.history.add, user, task, [Item("", text, label_in(body))])
        return JSONResponse({"added": True, **shown(item)}, 201)

    async def correct(self, http: Http) -> Response:
        body = self.of_json(await self.body(http))
        user, task = self.owner(body)
        number = item_number(http.path_params["number"])
        await asyncio.to_thread(self.history.correct, user, task, number, label_in(body))
        return JSONResponse({"corrected": True})

    async def remove(self, http: Http) -> Response:
        user, task = self.owner(dict(http.query_params))
        number = item_number(http.path_params["number"])
        await asyncio.to_thread(self.history.remove, user, task, number)
        return JSONResponse({"removed": True})

    def owner(self, body: dict) -> tuple[str, Task]:
        return user_of(body), self.task(word(body, "model"))

    def of_json(self, content: bytes) -> dict:
        try:
            body = json.loads(content)
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            raise ProtocolError(400, "the body should be a JSON object")
        return body

    # ------------------------------------------------------------ chat

    async def chat(self, http: Http) -> Response:
        request = asked(await self.body(http))
        task = self.task(request.model)
        writing = Writing(self, request, await asyncio.to_thread(self.question, request, task))
        if request.stream:
            return StreamingResponse(writing.stream(), media_type="text/event-stream",
                                     headers={"Cache-Control": "no-cache"})
        return JSONResponse(await writing.whole(http))

    def question(self, request: Asked, task: Task) -> Question:
        items = self.history.items(request.user, task)
        config = self.run.config
        return question_of(task, request.text, items, config.lamp, config.seed, self.worker.answerer.embed,
                           request.user)


class Writing:
    """One answer while it is written."""

    def __init__(self, server: Server, request: Asked, question: Question):
        answerer = server.worker.answerer
        prompt, report = answerer.prompt(question)
        if report.over_budget:
            raise ProtocolError(400, f"the prompt has {report.tokens} tokens; at most "
                                     f"{answerer.run.config.prompt.max_tokens} are allowed", "messages",
                                "context_length_exceeded")
        self.request, self.question, self.ends = request, question, answerer.ends
        self.answer = Answer(request.model, len(prompt))
        self.text, self.reader = TextStream(answerer.tokenizer, answerer.ends), ChainReader()
        self.steps: list = []
        self.content = ""
        self.ended = False
        self.told: asyncio.Queue[int | None | Exception] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def tell(what: int | None | Exception) -> None:
            try:
                loop.call_soon_threadsafe(self.told.put_nowait, what)
            except RuntimeError:  # the server is being stopped
                self.waiting.gone.set()

        self.waiting = Request(prompt, min(request.room or answerer.room, answerer.room), tell)
        try:
            server.worker.ask(self.waiting)
        except queue.Full:
            raise ProtocolError(429, "too many requests are waiting", code="rate_limit_exceeded") from None

    async def stream(self) -> AsyncIterator[str]:
        """The events of a streamed answer."""
        try:
            yield event(self.answer.piece({"role": "assistant", "content": ""}))
            async for delta in self.deltas():
                yield event(self.answer.piece(delta))
            yield event(self.answer.piece({}, self.finish, self.checked()))
            if self.request.with_usage:
                yield event(self.answer.last())
        except ProtocolError as error:
            yield event(error.body())
        finally:  # also when the client has gone
            self.waiting.gone.set()
        yield "data: [DONE]\n\n"

    async def whole(self, http: Http) -> dict:
        """The body of an answer that is sent at once. ProtocolError: the client has gone, or the model could
        not answer."""
        collecting = asyncio.ensure_future(self.collected())
        try:
            while not (await asyncio.wait([collecting], timeout=LOOK_EVERY))[0]:
                if await http.is_disconnected():
                    raise ProtocolError(499, "the client has gone")
            thought = collecting.result()
        finally:
            self.waiting.gone.set()
            collecting.cancel()
        return self.answer.whole(thought, self.content.strip(), self.finish, self.checked())

    async def collected(self) -> str:
        """The whole thought, once all is written."""
        return "".join([delta.get("reasoning_content", "") async for delta in self.deltas()])

    async def deltas(self) -> AsyncIterator[dict]:
        """What is new in the thought or the answer, token by token."""
        while (told := await self.told.get()) is not None:
            if isinstance(told, Exception):
                raise ProtocolError(500, f"the model could not answer: {one_line(told, 200)}")
            self.answer.tokens += 1
            self.ended = self.ended or told in self.ends
            for delta in self.read(self.text.add(told)):
                yield delta
        for part in self.reader.end():
            yield self.delta(part)

    def read(self, text: str) -> list[dict]:
        return [self.delta(part) for part in self.reader.read(text)]

    def delta(self, part) -> dict[str, Any]:
        """A part of the chain as the protocol's delta; the marks of its steps stay what they are."""
        if part.kind == "answer":
            new = part.text if self.content else part.text.lstrip()
            self.content += new
            return {"content": new}
        if part.kind == "close":
            self.steps.append(part.step)
            return {"reasoning_content": f"</{part.step.tag}>\n"}
        return {"reasoning_content": f"<{part.text}>" if part.kind == "open" else part.text}

    @property
    def finish(self) -> str:
        return "stop" if self.ended else "length"

    def checked(self) -> dict:
        return checked(self.steps, self.question, self.content)


def shown(item: Item) -> dict:
    """An item of a history as the protocol has it."""
    return {"number": int(item.id), "text": item.text, "label": item.label, "date": item.date}


def event(body: dict) -> str:
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"
