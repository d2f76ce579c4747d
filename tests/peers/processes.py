#!/usr/bin/env python3
"""Groups of processes beside process-exporter: the same families, groups, labels and values for the same processes.

Processes that this check drives through pipes are looked at by both programs while they rest: born before and after
the programs, with threads, with children, ending. What differs on purpose is listed in DIFFERENT.
"""

import argparse
import os
import subprocess
import tempfile

from peers import Exporter, Failed, free_port, main, parse, show, start_outrigger, wait_for

# Of a group without processes process-exporter says that its oldest began in the year 1; it is absent here.
DIFFERENT = {"namedprocess_namegroup_oldest_start_time_seconds"}

# Without threads by name this version reads threads all the same, and later ones do not; nor does Outrigger.
FROM_THREADS = {
    "namedprocess_namegroup_states",
    "namedprocess_namegroup_threads_wchan",
    "namedprocess_namegroup_context_switches_total",
}

# Counted over all processes of the machine, which come and go.
OF_THE_MACHINE = {
    "namedprocess_scrape_errors",
    "namedprocess_scrape_partial_errors",
    "namedprocess_scrape_procread_errors",
}

# It does as it is told, a line at a time, and says when it has done it.
WORKER = r"""
import os, subprocess, sys, threading, time
go = threading.Semaphore(0)
done = threading.Semaphore(0)
def burn(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        sum(range(1000))
def work():
    while True:
        go.acquire()
        burn(0.3)
        done.release()
threads = []
for line in sys.stdin:
    word, _, rest = line.strip().partition(" ")
    if word == "threads":
        for _ in range(int(rest)):
            threading.Thread(target=work, daemon=True).start()
            threads.append(1)
        time.sleep(0.2)
    elif word == "burn":
        burn(0.4)
        for _ in threads: go.release()
        for _ in threads: done.acquire()
    elif word == "child":
        child = subprocess.Popen(["sleep", "600"])
    elif word == "write":
        with open(rest, "wb") as f:
            f.write(b"x" * 300000); f.flush(); os.fsync(f.fileno())
    elif word == "open":
        kept = [open("/dev/null") for _ in range(int(rest))]
    elif word == "end":
        if "child" in globals(): child.kill(); child.wait()
        break
    print("ok", flush=True)
"""

CONFIG = r"""
process_names:
  - name: "{{.Comm}}:{{.Matches.Role}}"
    exe: [python3, /usr/bin/python3]
    cmdline: ['--peer-check=%(mark)s', '--role=(?P<Role>\w+)']
  - name: "{{.Username}} {{.ExeFull}} {{.ExeBase}}"
    comm: [sleep]
    cmdline: ['^sleep 31337$']
"""


def children(parent):
    """Numbers of the processes that a process has started."""
    found = []
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{process}/stat", encoding="utf-8") as f:
                if f.read().rpartition(")")[2].split()[1] == str(parent):
                    found.append(process)
        except OSError:
            # It has ended.
            continue
    return found


class Worker:
    """A process that is told what to do."""

    def __init__(self, mark, role):
        command = ["/usr/bin/python3", "-c", WORKER, f"--peer-check={mark}", f"--role={role}"]
        self.child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.tell("hello")

    def tell(self, line):
        self.child.stdin.write(line + "\n")
        self.child.stdin.flush()
        if line != "end" and self.child.stdout.readline().strip() != "ok":
            raise Failed(f"the worker did not do {line!r}")
        if line == "end":
            self.child.wait(20)
        else:
            # It answers before it waits for the next line, and a child is not at once what it will be: what is on its way
            # between the two scrapes would differ.
            self.seen = None
            wait_for(self.is_at_rest, f"the worker's rest after {line!r}")

    def is_at_rest(self):
        """Whether all threads of it and of its children wait for something, and have done nothing since it was asked last."""
        before, self.seen = self.seen, {}
        for process in [str(self.child.pid), *children(self.child.pid)]:
            for task in os.listdir(f"/proc/{process}/task"):
                with open(f"/proc/{process}/task/{task}/stat", encoding="utf-8") as f:
                    self.seen[task] = f.read()
        return self.seen == before and all(stat.rpartition(")")[2].startswith(" S") for stat in self.seen.values())

    def close(self):
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()


def groups(exporter):
    """{family: (type, {series: value})} of the families of groups."""
    families = parse(exporter.scrape())
    return {name: family for name, family in families.items() if name.startswith("namedprocess_")}


def same(series, ours, theirs):
    # Who else shares a page, and so a process's share of it, changes from moment to moment.
    tolerance = 0.25 if "proportional" in show(series) else 1e-9
    return abs(ours - theirs) <= tolerance * max(1.0, abs(theirs))


def compare(what, ours, theirs, left_out):
    """Raises with every difference."""
    wrong = []
    for name in sorted((set(ours) | set(theirs)) - left_out):
        if name not in ours or name not in theirs:
            # A family without a series is not written by either; which has one first may differ for counters of theirs.
            wrong.append(f"{name}: {'only theirs' if name in theirs else 'only ours'}")
            continue
        (our_type, our_series), (their_type, their_series) = ours[name], theirs[name]
        if our_type != their_type:
            wrong.append(f"{name}: our type is {our_type}, theirs {their_type}")
        if name in OF_THE_MACHINE:
            continue
        for series in sorted(set(our_series) | set(their_series)):
            a, b = our_series.get(series), their_series.get(series)
            if name in DIFFERENT and a is None and b is not None and b < 0:
                continue
            if a is None or b is None or not same(series, a, b):
                wrong.append(f"{show(series)}: ours {a}, theirs {b}")
    if wrong:
        raise Failed(f"{what}: {len(wrong)} differences\n  " + "\n  ".join(wrong[:40]))
    count = sum(len(series) for _, series in ours.values())
    print(f"{what}: {len(ours)} families, {count} series alike")


def check(outrigger, peer, options, our_options, directory, mark):
    config = os.path.join(directory, "process.yml")
    with open(config, "w", encoding="utf-8") as f:
        f.write(CONFIG % {"mark": mark})
    old = Worker(mark, "old")
    old.tell("threads 3")
    old.tell("burn")
    plain = subprocess.Popen(["sleep", "31337"])
    workers, port = [old], free_port()
    try:
        theirs = Exporter([peer, f"-config.path={config}", f"-web.listen-address=127.0.0.1:{port}", *options], port)
        # A pass for history would see what happens between two scrapes.
        alone = os.path.join(directory, "outrigger.yml")
        with open(alone, "w", encoding="utf-8") as f:
            f.write("collect: {history_interval: 0s}\n")
        flags = [f"--config.file={alone}", "--collector.disable-defaults", "--collector.process", f"--collector.process.config-path={config}"]
        with theirs, start_outrigger(outrigger, [*flags, *our_options]) as ours:
            def look(what):
                a, b = groups(ours), groups(theirs)
                compare(f"{' '.join(options) or 'default'}: {what}", a, b, FROM_THREADS if "-threads=false" in options else set())
                return a

            # The first pass: who is there now is counted from now on.
            look("at the start")
            old.tell("burn")
            old.tell("open 20")
            look("after work")
            young = Worker(mark, "young")
            workers.append(young)
            young.tell("burn")
            young.tell(f"write {directory}/written")
            look("born later")
            young.tell("threads 2")
            young.tell("child")
            look("threads and a child")
            young.tell("burn")
            look("threads at work")
            young.tell("burn")
            young.tell("end")
            plain.kill()
            plain.wait()
            last = look("ended")
            key = 'namedprocess_namegroup_num_procs'
            if sorted(last[key][1].values()) != [0, 0, 1]:
                raise Failed(f"processes of the groups: {last[key][1]}")
            again = Worker(mark, "young")
            workers.append(again)
            again.tell("burn")
            look("another of the group")
    finally:
        plain.kill()
        plain.wait()
        for worker in workers:
            worker.close()


def run():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--outrigger", required=True)
    parser.add_argument("--peer", default="prometheus-process-exporter")
    arguments = parser.parse_args()
    cases = [
        (["-gather-smaps=false"], []),
        (["-gather-smaps=true"], ["--collector.process.gather-smaps"]),
        (["-gather-smaps=false", "-threads=false"], ["--no-collector.process.threads"]),
        (["-gather-smaps=false", "-children=false"], ["--no-collector.process.children"]),
    ]
    for number, (options, our_options) in enumerate(cases):
        with tempfile.TemporaryDirectory() as directory:
            mark = f"{os.getpid()}x{number}"
            check(arguments.outrigger, arguments.peer, options, our_options, directory, mark)


if __name__ == "__main__":
    main(run)
