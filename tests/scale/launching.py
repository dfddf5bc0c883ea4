"""Several ranks on this machine, started as a launcher starts them: by their place in the environment. A hang fails."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def launch(*arguments: str, world: int = 2, seconds: int = 300) -> list[str]:
    """Run Python with `arguments` on `world` ranks to their end. What each said; AssertionError with it where one fails or is not done in time."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(world), "OMP_NUM_THREADS": "1"}
    with ExitStack() as stack:  # files, since a pipe that nobody reads stops whoever fills it
        said = [stack.enter_context(tempfile.TemporaryFile("w+", errors="replace")) for _ in range(world)]
        started = [
            subprocess.Popen(
                [sys.executable, *arguments],
                env={**os.environ, **where, "RANK": str(rank), "LOCAL_RANK": str(rank), "PYTHONPATH": str(ROOT)},
                stdout=file,
                stderr=subprocess.STDOUT,
            )
            for rank, file in enumerate(said)
        ]
        end = time.monotonic() + seconds
        try:
            while any(process.poll() is None for process in started):
                failed = any(process.poll() not in (None, 0) for process in started)
                if failed or time.monotonic() > end:
                    break
                time.sleep(0.2)
        finally:
            for process in started:
                process.kill()
                process.wait()
        for file in said:
            file.seek(0)
        told = [file.read() for file in said]
    codes = [process.returncode for process in started]
    assert codes == [0] * world, f"ranks ended with {codes}\n" + "\n---\n".join(each[-4000:] for each in told)
    return told
