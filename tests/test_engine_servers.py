"""What stands between a run and a vLLM server, without vLLM: who ends whom, what is no server of ours, weights in a file.

Servers here are real ones that are not ours; what one of ours does is in tests/scale/test_vllm_server.py.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from rlzoo.cli import main
from rlzoo.engine.model.loading import load_policy
from rlzoo.engine.model.weights.replicated import Replicated
from rlzoo.engine.sampling import servers, warden
from rlzoo.engine.sampling.engines import Draw, Serving, check_version
from rlzoo.engine.sampling.http_lines import Refused, ServerGone, ServerLines
from rlzoo.engine.sampling.inside import Inside
from rlzoo.engine.sampling.servers import OwnServer, Server, _last_error, arguments, greet, write_weights
from rlzoo.engine.sampling.vllm import VllmSampler
from rlzoo.errors import ConfigError, SamplerFault, UsageError
from tests.architectures import TRAINED, make
from tests.played_http import Answer, answering
from tests.support import small_config

SHAPE = {"architecture": "LlamaForCausalLM", "vocab_size": 100}
SERVED = Serving(model="/models/some", dtype="float32", room=288, rows=8, shape=SHAPE)
OURS = {
    "extension": "2",
    "owner": "",
    "updates": -1,
    "shape": SHAPE,
    "dtype": "float32",
    "room": 288,
    "adapter": 0,
    "logps": "processed_logprobs",
}


def by_path(answers: dict[str, Any]) -> Answer:
    """Answers by path, the rest with 404."""
    return lambda path, said: answers.get(path, 404)


def answers_of(**changed: Any) -> dict[str, Any]:
    return {"/health": {}, "/version": {"version": "0.32.0"}, "/collective_rpc": {"results": [{**OURS, **changed}]}}


# -- the warden -------------------------------------------------------------------------------------------

LIVES_ON = "import subprocess, sys, time; child = subprocess.Popen(['sleep', '300']); print(child.pid, flush=True); time.sleep(300)"


def guarded(parent: int, *command: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-P", warden.__file__, str(parent), *command]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True)


def gone(pid: int, within: float = 30.0) -> bool:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except FileNotFoundError:
            return True
        if stat.rpartition(")")[2].split()[0] == "Z":  # ended, and nobody has asked yet
            return True
        time.sleep(0.05)
    return False


def test_a_server_and_its_children_end_when_the_run_is_killed() -> None:
    """A trainer that is killed by SIGKILL can do nothing any more: the warden sees that it is another's child now."""
    run = (
        "import os, subprocess, sys, time; from rlzoo.engine.sampling import warden; "
        f"subprocess.Popen([sys.executable, '-P', warden.__file__, str(os.getpid()), sys.executable, '-c', {LIVES_ON!r}], start_new_session=True); "
        "time.sleep(300)"
    )
    trainer = subprocess.Popen([sys.executable, "-c", run], stdout=subprocess.PIPE, text=True)
    assert trainer.stdout is not None
    child = int(trainer.stdout.readline())
    os.kill(trainer.pid, signal.SIGKILL)
    trainer.wait()
    assert gone(child)


def test_a_server_and_its_children_end_when_it_is_asked_to() -> None:
    process = guarded(os.getpid(), sys.executable, "-c", LIVES_ON)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    process.terminate()
    assert process.wait(30) == 128 + signal.SIGTERM
    assert gone(child)


@pytest.mark.parametrize(("does", "code"), [("sys.exit(3)", 3), ("os.kill(os.getpid(), 9)", 137)])
def test_the_warden_ends_with_the_servers_exit_code(does: str, code: int) -> None:
    assert guarded(os.getpid(), sys.executable, "-c", f"import os, sys; {does}").wait(30) == code


@pytest.mark.parametrize(
    ("command", "code", "gone"),
    [("exit 3", 3, False), ("kill -9 $$", 137, False), ("exec sleep 9", 128 + signal.SIGTERM, True)],
)
def test_a_warden_watches_server_and_run(command: str, code: int, gone: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process; of the last, the run is gone."""
    parent = -1 if gone else os.getppid()
    monkeypatch.setattr(warden, "LOOK_S", 0.01)
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert warden.watch(parent, ["sh", "-c", command]) == code
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("echo > here; exec sleep 9", 128 + signal.SIGTERM),
        ("trap '' TERM; echo > here; while true; do sleep 0.01; done", 128 + signal.SIGKILL),
    ],
)
def test_a_warden_that_is_asked_to_end_asks_its_server_and_kills_it_then(
    command: str, code: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(warden, "GRACE_S", 0.1)

    def ask(seconds: float) -> None:
        time.sleep(0.01)
        if Path("here").exists():
            os.kill(os.getpid(), signal.SIGTERM)

    def unheard(number: int, frame: Any) -> None:
        raise AssertionError("the warden does not listen")

    monkeypatch.setattr(warden, "time", SimpleNamespace(sleep=ask))
    before = signal.signal(signal.SIGTERM, unheard)
    try:
        assert warden.watch(os.getppid(), ["sh", "-c", command]) == code
    finally:
        signal.signal(signal.SIGTERM, before)


# -- one that the run starts --------------------------------------------------------------------------------

PLAYED = """
import json, os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

if os.path.exists("broken"):
    sys.exit("  ValueError: no such model")

worker = {"owner": "", "updates": -1}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        told = json.loads(text) if text else {}
        answer = {"version": "0.32.0", "success": True, "environment": dict(os.environ), "arguments": sys.argv[1:]}
        if told.get("method") == "rlzoo_load":
            assert os.path.exists(told["args"][0])
            worker.update(owner=told["args"][1], updates=int(told["args"][2]))
        if "method" in told:
            answer = {"results": [worker]}
        if "token_ids" in told:
            seed = told["sampling_params"]["seed"]
            if seed == 13 or seed == 14 and not os.path.exists("once"):
                open("once", "w").close()
                os._exit(3)
            answer = {"choices": [{"token_ids": [seed], "logprobs": {"content": [{"logprob": -0.5}]}}]}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *args): ...


HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which `python -m vllm...` finds a server that the tests play."""
    module = tmp_path / "vllm" / "entrypoints" / "openai"
    module.mkdir(parents=True)
    (module / "api_server.py").write_text(PLAYED)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setattr(servers, "LOOK_S", 0.02)
    return tmp_path


def test_a_runs_own_server_is_started_once_more_and_ends_with_it(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the weights it had; it is no rank, and of its environment what the user set stays."""
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "7")
    server = OwnServer(SERVED, "me", place)
    told = server.lines.ask("GET", "/environment")
    assert not {"LOCAL_RANK", "RANK", "MASTER_ADDR"} & set(told["environment"])
    assert told["environment"]["VLLM_CPU_KVCACHE_SPACE"] == "7"
    assert told["environment"]["VLLM_CPU_OMP_THREADS_BIND"] == "nobind"
    assert told["environment"]["VLLM_SERVER_DEV_MODE"] == "1"
    assert told["arguments"] == arguments(SERVED, host="127.0.0.1", port=server.port, cpu=not torch.cuda.is_available())
    assert os.getpgid(server.process.pid) == server.process.pid, "Ctrl-C is not for it"
    server.load(iter([("a", torch.ones(2))]), 4)
    assert server.draw([Draw((1, 2), 5), Draw((1,), 6)], {}) == [([5], [-0.5]), ([6], [-0.5])]
    assert server.draw([Draw((1,), 14)], {}) == [([14], [-0.5])]
    assert server.restarts == 1
    assert server.log.read_bytes().count(b"# ") == 2
    with pytest.raises(SamplerFault, match=r"died twice, the second time with exit code 3; its log is .*server\.log"):
        server.draw([Draw((1,), 13)], {})
    server.close()
    assert not (place / "weights.safetensors").exists()
    with pytest.raises(SamplerFault, match="died twice"):
        server.draw([Draw((1,), 5)], {})


def test_a_server_that_ends_or_is_silent_as_it_starts_is_told_with_its_log(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "broken").touch()
    with pytest.raises(SamplerFault, match=r"with exit code 1 \(ValueError: no such model\); its log is"):
        OwnServer(SERVED, "me", place)
    monkeypatch.setattr(servers, "START_S", 0.0)
    with pytest.raises(SamplerFault, match="did not answer within 0 s"):
        OwnServer(SERVED, "me", place)


# -- what is no server of ours ----------------------------------------------------------------------------


def test_ranks_share_a_server_and_each_has_its_own_engine_inside() -> None:
    """Whoever shares one gathers weights on the host and hands them on once."""
    assert (Server.shared, Server.on_device, OwnServer.shared) == (True, False, True)
    assert Inside.shared is False


def test_a_server_of_ours_is_taken() -> None:
    with answering(by_path(answers_of())) as url:
        greet(url, SERVED)
    with answering(by_path(answers_of(room=4096, adapter=16))) as url:
        greet(url, replace(SERVED, adapter=16))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"shape": {**SHAPE, "vocab_size": 90}}, "'vocab_size': 90"),
        ({"dtype": "bfloat16"}, "dtype is bfloat16, not float32"),
        ({"logps": "raw_logprobs"}, "logps is raw_logprobs, not processed_logprobs"),
        ({"room": 200}, "room is 200 tokens, fewer than the 288"),
        ({"extension": "0"}, "extension is 0, not 2"),
        ({"adapter": 8}, "it takes adapters of rank 8 at most, fewer than 16"),
    ],
)
def test_a_server_of_something_else_is_refused_with_the_reason(changed: dict[str, Any], said: str) -> None:
    with answering(by_path(answers_of(**changed))) as url, pytest.raises(ConfigError) as told:
        greet(url, replace(SERVED, adapter=16 if "adapter" in changed else 0))
    assert said in str(told.value)
    assert "--worker-extension-cls rlzoo.engine.sampling.vllm_worker.WeightReceiver" in str(told.value)


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({"/health": {}}, "takes no weights from a run (HTTP 404"),
        ({"/health": {}, "/collective_rpc": 500}, "takes no weights from a run (HTTP 500"),
        ({"/health": {}, "/collective_rpc": {"results": []}}, "takes no weights from a run"),
        ({"/health": 503}, "no server answers (HTTP 503"),
        ({}, "no server answers (HTTP 404"),
    ],
)
def test_a_server_without_our_worker_is_refused(answers: dict[str, Any], said: str) -> None:
    with answering(by_path(answers)) as url, pytest.raises(ConfigError) as told:
        greet(url, SERVED)
    assert said in str(told.value)


def test_a_dead_server_is_refused_before_anything_is_loaded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with answering(by_path({})) as url:
        pass
    for words in (["train", "--algo", "grpo", "--out", str(tmp_path / "run")], ["eval", "tiny"]):
        assert main.run([*words, "--set", "sampling.backend=vllm", "--set", f"sampling.place={url}"]) == 2
        said = " ".join(capsys.readouterr().err.split())
        assert "where no server answers" in said
        assert "Start one: VLLM_SERVER_DEV_MODE=1 python -m vllm.entrypoints.openai.api_server" in said
        assert "Traceback" not in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changed", "whose"),
    [
        ({"owner": "another", "updates": 4}, "weights of another run (update 4)"),
        ({"owner": "", "updates": -1}, "weights of its model's own folder (update -1)"),
        ({"owner": "me", "updates": 2}, "weights of this run (update 2)"),
    ],
)
def test_a_server_that_is_out_of_step_answers_nothing(changed: dict[str, Any], whose: str, tmp_path: Path) -> None:
    with answering(by_path(answers_of(**changed))) as url:
        server = Server(url, "me", tmp_path)
        server.follow(4)
        with pytest.raises(SamplerFault, match=r"is out of step") as told:
            server.draw([], {})
    assert whose in str(told.value)


def test_a_server_that_goes_is_told_as_that(tmp_path: Path) -> None:
    with answering(by_path(answers_of(owner="me", updates=0))) as url:
        server = Server(url, "me", tmp_path)
        server.follow(0)
    with pytest.raises(SamplerFault, match="does not answer any more"):
        server.draw([], {})


def test_lines_tell_what_is_gone_from_what_refuses() -> None:
    with answering(by_path({"/here": {"a": 1}})) as url:
        lines = ServerLines(url)
        assert lines.ask("GET", "/here") == {"a": 1}
        with pytest.raises(Refused, match="HTTP 404"):
            lines.ask("POST", "/elsewhere", {"b": 2})
        assert lines.ask("POST", "/here", {"b": 2}) == {"a": 1}
    with pytest.raises(ServerGone):
        ServerLines(url).ask("GET", "/here", timeout=5)


class Closing(BaseHTTPRequestHandler):
    """Keeps connections, but for one answer each; tells what it was asked."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path == "/slow":
            time.sleep(0.2)
        body = {"/text": b"no json", "/empty": b" "}.get(self.path, text)
        self.send_response(404 if self.path == "/missing" else 200)
        self.send_header("Content-Length", str(len(body)))
        with suppress(ConnectionError):  # whoever asked for /slow is gone
            self.end_headers()
            self.wfile.write(body)
        self.close_connection = True

    def log_message(self, *args: Any) -> None: ...


def test_lines_survive_connections_that_were_closed_and_wait_no_longer_than_told() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Closing)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    lines = ServerLines(f"http://127.0.0.1:{server.server_port}")
    assert [lines.ask("POST", "/", {"a": n}) for n in range(3)] == [{"a": 0}, {"a": 1}, {"a": 2}]
    assert lines.ask("POST", "/text") == "no json"
    assert lines.ask("POST", "/empty") is None
    with pytest.raises(Refused) as refused:
        lines.ask("POST", "/missing", "x" * 400)
    assert str(refused.value) == 'HTTP 404: "' + "x" * 299
    with pytest.raises(ServerGone, match="TimeoutError"):
        lines.ask("POST", "/slow", timeout=0.05)
    server.shutdown()
    server.server_close()
    assert ServerLines("http://somewhere").port == 80
    assert refused.value.status == 404


def test_the_last_error_of_a_log_is_told(tmp_path: Path) -> None:
    log = tmp_path / "log"
    for text, told in (
        ("all well\n", ""),
        ("Error: one\n  TypeError: two\nthree\n", " (TypeError: two)"),
        ("Error: one\n# Error of a command\n  File 'Error.py'\n", " (Error: one)"),
        (f"Error: {'x' * 400}", f" ({'x' * 300})"),
    ):
        log.write_text(text)
        assert _last_error(log) == told


# -- vLLM that is not there, or does not fit --------------------------------------------------------------


@pytest.mark.parametrize("words", [["train", "--algo", "grpo"], ["eval", "tiny"]])
def test_without_vllm_a_run_is_refused_with_how_to_install_it(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = sys.modules["importlib.util"].find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *a: None if name == "vllm" else found(name, *a))
    monkeypatch.chdir(tmp_path)
    assert main.run([*words, "--set", "sampling.backend=vllm"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "pip install 'rlzoo[vllm]'" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("version", "fits"), [("0.31.1", False), ("0.32.0", True), ("1.0", True), ("0.9.2", False), ("unknown", True)]
)
def test_a_vllm_that_is_too_old_is_refused(version: str, fits: bool) -> None:
    if fits:
        check_version(version, "here")
        return
    with pytest.raises(UsageError, match=rf"the vLLM here is {version}.*vllm>=0.32"):
        check_version(version, "here")


def test_float64_is_refused() -> None:
    with pytest.raises(ConfigError, match="vLLM does not compute in"):
        VllmSampler.fit(small_config("sampling.backend=vllm", "model.dtype=float64"))


# -- weights ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tiny", "qwen3", "qwen2-two-ends", "qwen3-moe", "gpt-neox"])
def test_full_weights_have_the_names_of_save_pretrained_and_a_tied_head_its_own(name: str, tmp_path: Path) -> None:
    """Into a file as safetensors, tied ones twice; what save_pretrained writes is in it to the last bit."""
    path = name if name == "tiny" else str(make(TRAINED[name], tmp_path / name))
    policy = load_policy(small_config(f"model.path={path}", "model.device=cpu"))
    named = dict(Replicated(policy).full())
    write_weights(named, tmp_path / "weights.safetensors")
    written = load_file(tmp_path / "weights.safetensors")
    policy.model.save_pretrained(tmp_path / "saved")
    saved = load_file(tmp_path / "saved" / "model.safetensors")
    tied = set(written) - set(saved)
    assert set(saved) <= set(written)
    assert all(torch.equal(written[key], saved[key]) for key in saved)
    assert tied == ({"lm_head.weight"} if policy.model.config.tie_word_embeddings else set())
    if tied:
        assert torch.equal(written["lm_head.weight"], policy.output.weight)
    assert not list(tmp_path.glob("*.partial"))


def test_the_command_that_starts_a_server_names_what_it_has_to_serve() -> None:
    words = arguments(SERVED, host="127.0.0.1", port=8000, cpu=True)
    told = dict(zip(words[::2], words[1::2], strict=False))
    assert told["--max-model-len"] == "288"
    assert told["--max-num-seqs"] == "8"
    assert told["--logprobs-mode"] == "processed_logprobs"
    assert "--block-size" in words
    assert "--block-size" not in arguments(SERVED, host="127.0.0.1", port=8000, cpu=False)
