"""A server that samples as vLLM's does, by the engine of this package, with the adapters that it is told to
load. It fails in the ways of fault_server, and in those of a server that samples.

The calls and their fields are those of vLLM's /v1/load_lora_adapter, /v1/unload_lora_adapter and
/v1/completions. Requests wait for each other: there is one model.
"""
import json
import socket
import threading
from pathlib import Path

from fault_server import Server

from tagpr_lite.config import UserError
from tagpr_lite.engine import model as engine
from tagpr_lite.engine.sample import sample


def refused(status, message, kind="InvalidUserInput"):
    """What vLLM sends where it does not do what it was asked."""
    return status, {"error": {"message": message, "type": kind, "param": None, "code": status}}


class SamplingServer(Server):
    """settings: of the model. temperature: what it samples with, whatever it was asked; None: as asked.
    change(response's body): may spoil a completion. updating: whether adapters may be loaded."""

    def __init__(self, settings, temperature=None, change=lambda body: None, updating=True, **kwargs):
        self.model, _ = engine.load(settings)
        self.temperature, self.change, self.updating = temperature, change, updating
        self.adapters: dict[str, str] = {}  # {name: folder}
        self.calls: list[tuple[str, str]] = []  # ("load" or "unload", name)
        self.busy = threading.Lock()
        super().__init__(answer=None, **kwargs)

    def handle(self, http, body, fault):
        call = http.path.removeprefix("/v1/")
        if fault == "drop":  # at once: the client need not wait for its bound
            http.close_connection = True
            return http.connection.shutdown(socket.SHUT_RDWR)
        if fault or call == "completions" and body["model"] in self.adapters:
            return super().handle(http, body, fault)
        with self.busy:
            if call == "load_lora_adapter" and self.updating:
                return self.send(http, *self.load(body["lora_name"], body["lora_path"]))
            if call == "unload_lora_adapter" and self.updating:
                return self.send(http, *self.unload(body["lora_name"]))
        if call == "completions":
            return self.send(http, *refused(404, f"The model `{body['model']}` does not exist.",
                                            "NotFoundError"))
        self.send(http, 404, {"detail": "Not Found"})

    def load(self, name, folder):
        self.calls.append(("load", name))
        if name in self.adapters:
            return refused(400, f"The lora adapter '{name}' has already been loaded. If you want to load the "
                                "adapter in place, set 'load_inplace' to True.")
        try:
            self.model = engine.load_adapter(self.model, Path(folder), name)
        except UserError as error:
            return refused(500, str(error), "InternalServerError")
        self.adapters[name] = folder
        return 200, f"Success: LoRA adapter '{name}' added successfully."

    def unload(self, name):
        self.calls.append(("unload", name))
        if name not in self.adapters:
            return refused(404, f"The lora adapter '{name}' cannot be found.", "NotFoundError")
        self.model.delete_adapter(name)
        del self.adapters[name]
        return 200, f"Success: LoRA adapter '{name}' removed successfully."

    def whole(self, path, body):
        """The content of a response to a request for a completion."""
        if not path.endswith("/completions"):
            return "Success"  # of a load: it is cut, or replaced, before it leaves
        temperature = body["temperature"] if self.temperature is None else self.temperature
        with self.busy:
            self.model.set_adapter(body["model"])
            [[drawn]] = sample(self.model, [body["prompt"]], 1, body["max_tokens"],
                               set(body["stop_token_ids"]), temperature=temperature, seeds=[[body["seed"]]])
        logprobs = {"tokens": [f"token_id:{token}" for token in drawn.ids], "token_logprobs": drawn.logps}
        response = {"id": "x", "object": "text_completion", "model": body["model"], "choices": [
            {"index": 0, "text": "", "finish_reason": "stop" if drawn.ended else "length",
             "prompt_token_ids": body["prompt"], "token_ids": drawn.ids, "logprobs": logprobs}]}
        self.change(response)
        return json.dumps(response)
