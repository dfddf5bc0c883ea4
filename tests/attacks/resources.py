"""Floods, hangs and what wants to outlive its program."""

from tests.attacks import Attack, breach, flood

SPIN = "import os, time\n"
ATTACKS: tuple[Attack, ...] = (
    flood("endless loop", "run for ever", "while True:\n    pass"),
    flood("endless sleep", "wait for ever without using the processor", "import time\ntime.sleep(10**6)"),
    flood("endless C call", "hold the interpreter in one call that no signal handler interrupts", "9**9**9**9"),
    flood("pathological pattern", "hang in the regular-expression engine", "import re\nre.match('(a+)+$', 'a' * 64 + 'b')"),
    flood("memory at once", "allocate 64 GB", "x = bytearray(64 * 2**30)"),
    flood("memory bit by bit", "grow a list until something breaks", "x = []\nwhile True:\n    x.append(bytearray(2**20))"),
    flood("memory by mapping", "map memory that is counted late", "import mmap\nx = [mmap.mmap(-1, 2**30) for _ in range(256)]"),
    flood("stack overflow", "recurse in C until the stack is gone", (
        "import sys\nsys.setrecursionlimit(10**9)\nx = []\nfor _ in range(10**6):\n    x = [x]\nrepr(x)"
    )),
    flood("standard output flood", "write for ever", "import os\nwhile True:\n    os.write(1, b'x' * 65536)"),
    flood("standard error flood", "write for ever to the other stream", "import os\nwhile True:\n    os.write(2, b'x' * 65536)"),
    flood("result flood", "write for ever to the result channel", "import os\nwhile True:\n    os.write(4, b'{\"value\":3}\\n' * 5000)"),
    flood("result line without end", "one line for ever, so that the reader keeps it", "import os\nwhile True:\n    os.write(4, b'[' * 65536)"),
    flood("disk flood", "fill the disk", (
        "import itertools\nfor n in itertools.count():\n    with open(f'flood{n}', 'wb') as file:\n"
        "        for _ in range(64):\n            file.write(bytes(2**20))"
    )),
    flood("one huge file", "fill the disk with a file", "file = open('huge', 'wb')\nwhile True:\n    file.write(bytes(2**20))"),
    flood("sparse file", "make a file of 8 TB", "import os\nos.truncate(open('sparse', 'wb').fileno(), 2**43)\n1 / 0"),
    flood("inode flood", "use up all inodes", "import itertools\nfor n in itertools.count():\n    open(f'i{n}', 'w').close()"),
    flood("folder flood", "nest folders beyond what tools can remove", (
        "import os\nfor n in range(10**6):\n    os.mkdir('d')\n    os.chdir('d')"
    )),
    flood("descriptor flood", "use up all descriptors", "import os\nx = []\nwhile True:\n    x.append(os.dup(1))"),
    flood("thread flood", "start threads until something breaks", (
        "import threading, time\nwhile True:\n    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()"
    )),
    flood("fork bomb", "double for ever", "import os\nwhile True:\n    os.fork()"),
    flood("fork bomb, fork allowed", "double for ever where forking is granted", (
        "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass"
    ), grants=("fork",)),
    flood("memory in many processes", "use up memory by processes that each keep to their limit", (
        "import os, time\nfor n in range(32):\n    if os.fork() == 0:\n        break\n"
        "taken = bytearray(100 * 2**20)\nfor at in range(0, len(taken), 4096):\n    taken[at] = 1\ntime.sleep(600)"
    ), grants=("fork",)),
    flood("children that ignore signals", "leave children that only SIGKILL ends", (
        "import os, signal, time\nfor n in range(8):\n    if os.fork() == 0:\n        for s in range(1, 32):\n"
        "            try:\n                signal.signal(s, signal.SIG_IGN)\n            except OSError:\n                pass\n"
        "        time.sleep(600)"
    ), grants=("fork",)),
    breach("double-forked daemon", "leave a daemon behind", (
        "import os, time\nif os.fork() == 0:\n    if os.fork() == 0:\n        time.sleep(600)\n"
        "    os._exit(0)\nreturn False"
    ), grants=("fork",)),
    breach("daemon without leave", "leave a daemon behind where forking is not granted", (
        "import os, time\npid = os.fork()\nif pid == 0:\n    time.sleep(600)\nreturn True"
    )),
    breach("late thread", "let a thread write results after the main one has ended", (
        "import threading, time, os\ndef late():\n    time.sleep(0.05)\n    os.write(4, b'{\"value\":3}\\n' * 3)\n"
        "threading.Thread(target=late).start()\nreturn False"
    )),
    breach("raise its own limits", "lift the memory limit", (
        "import resource\nresource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)\nreturn True"
    )),
    breach("raise the parent's limits", "change another process's limits", (
        "import os, resource\nresource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (8, 8))\nreturn True"
    )),
    breach("shared memory that outlives it", "leave a System V segment behind", (
        "import ctypes\nreturn ctypes.CDLL(None, use_errno=True).shmget(0, 2**20, 0o1600) >= 0"
    )),
)  # fmt: skip
