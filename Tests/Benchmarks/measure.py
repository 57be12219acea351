"""Runs a command and prints one JSON object of what it took:

    measure.py [--watch DIRECTORY]... [--sync PATH]... [--log FILE] -- COMMAND...

    status        exit status, negative for a signal
    wall          seconds until the command ended
    sync          seconds after it until what lies at the synchronized paths was on disk; some commands do it themselves
    user, system  processor seconds of the command and the children it waited for
    peak          greatest resident set, bytes, mapped pages counted
    anonymous     greatest part of it that no file backs, looked at 50 times a second
    watched       greatest sum of the lengths of the files in the watched directories, and on_disk of their blocks
    output        what it printed on standard output; standard error goes to the log, or where this program's goes

This program is small on purpose and imports little: on Linux, a child's resident peak (ru_maxrss) begins with what
its parent had resident when it forked. What this one has is printed as `floor`: a peak not above it means nothing.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path


def anonymous_bytes(pid):
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass  # It has ended.
    return 0


def own_peak():
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))


def lengths(directories):
    """Lengths and blocks of all files below, in bytes. Files come and go meanwhile."""
    length = blocks = 0
    for directory in directories:
        for folder, _, names in os.walk(directory):
            for name in names:
                try:
                    status = os.lstat(os.path.join(folder, name))
                except OSError:
                    continue
                length += status.st_size
                blocks += 512 * status.st_blocks
    return length, blocks


def synchronize(paths):
    for path in paths:
        for file in [path] if path.is_file() else [f for f in path.rglob("*") if f.is_file()]:
            descriptor = os.open(file, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)


class Watcher(threading.Thread):
    """Looks at what cannot be read when the command has ended."""

    def __init__(self, pid, directories):
        super().__init__(daemon=True)
        self.anonymous = self.length = self.blocks = 0
        self._pid, self._directories, self._done = pid, directories, threading.Event()

    def run(self):
        while not self._done.wait(0.02):
            self.anonymous = max(self.anonymous, anonymous_bytes(self._pid))
            if self._directories:
                length, blocks = lengths(self._directories)
                self.length, self.blocks = max(self.length, length), max(self.blocks, blocks)

    def stop(self):
        self._done.set()
        self.join()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--watch", action="append", default=[], metavar="DIRECTORY")
    parser.add_argument("--sync", action="append", default=[], type=Path, metavar="PATH")
    parser.add_argument("--log", metavar="FILE")
    parser.add_argument("command", nargs="+")
    arguments = parser.parse_args()
    log = open(arguments.log, "wb") if arguments.log else None
    begin = time.perf_counter()
    process = subprocess.Popen(arguments.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log)
    watcher = Watcher(process.pid, arguments.watch)
    watcher.start()
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    ended = time.perf_counter()
    synchronize(arguments.sync)
    synchronized = time.perf_counter()
    watcher.stop()
    result = {
        "status": os.waitstatus_to_exitcode(status),
        "wall": ended - begin,
        "sync": synchronized - ended,
        "user": usage.ru_utime,
        "system": usage.ru_stime,
        "peak": usage.ru_maxrss * 1024,
        "anonymous": watcher.anonymous,
        "floor": own_peak(),
        "output": output.decode(errors="replace"),
    }
    if arguments.watch:
        result |= {"watched": watcher.length, "on_disk": watcher.blocks}
    json.dump(result, sys.stdout)
    print()


if __name__ == "__main__":
    main()
