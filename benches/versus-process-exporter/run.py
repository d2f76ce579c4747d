#!/usr/bin/env python3
"""CPU and memory of Outrigger's groups of processes and of process-exporter, side by side on this machine.

Both group the same processes in the same way, one scrape after the other in blocks that alternate; CPU is user and
system time of the whole process, the median block counts. Outrigger runs the collector alone.
"""

import argparse
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
from measure import alternate, peers  # noqa: E402

ALONE = "builtin_rules: {enabled: false}\ncollect: {history_interval: 0s}\n"
CONFIG = "process_names:\n  - name: '{{.Comm}}'\n    cmdline: ['.+']\n"

# Each runs as many threads as it is told, all of which wait.
IDLE = "import sys, threading, time\n" \
       "for _ in range(int(sys.argv[1]) - 1): threading.Thread(target=time.sleep, args=(9e6,), daemon=True).start()\n" \
       "time.sleep(9e6)"


def series(exporter):
    families = peers.parse(exporter.scrape())
    return sum(len(samples) for name, (_, samples) in families.items() if name.startswith("namedprocess_"))


def compare(arguments, config, idle, threads, options, our_options):
    children = [subprocess.Popen(["/usr/bin/python3", "-c", IDLE, str(threads)]) for _ in range(idle)]
    try:
        port = peers.free_port()
        command = [arguments.peer, f"-config.path={config}", f"-web.listen-address=127.0.0.1:{port}", *options]
        flags = ["--collector.disable-defaults", "--collector.process", f"--collector.process.config-path={config}",
                 f"--config.file={arguments.alone}", *our_options]
        with peers.Exporter(command, port) as theirs, peers.start_outrigger(arguments.outrigger, flags) as ours:
            processes = sum(name.isdigit() for name in os.listdir("/proc"))
            cost = alternate([ours, theirs], arguments.scrapes, arguments.blocks)
            memory = [exporter.status("VmRSS") / 1024 for exporter in (ours, theirs)]
            what = " ".join(options) or "default"
            print(f"| {processes} processes, {idle} of them with {threads} threads, `{what}` "
                  f"({series(ours)} and {series(theirs)} series) | {cost[0]:.2f} ms | {cost[1]:.2f} ms | "
                  f"{cost[1] / cost[0]:.1f} | {memory[0]:.1f} MB | {memory[1]:.1f} MB |", flush=True)
    finally:
        for child in children:
            child.kill()
            child.wait()


def run():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--outrigger", required=True)
    parser.add_argument("--peer", default="prometheus-process-exporter")
    parser.add_argument("--scrapes", type=int, default=50)
    parser.add_argument("--blocks", type=int, default=5)
    arguments = parser.parse_args()
    print("| what | Outrigger: CPU of a scrape | process-exporter: CPU of a scrape | ratio | RSS | RSS |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as directory:
        # Neither rules nor history, which process-exporter has not.
        arguments.alone, config = (os.path.join(directory, name) for name in ("outrigger.yml", "process.yml"))
        for path, text in ((arguments.alone, ALONE), (config, CONFIG)):
            with open(path, "w", encoding="utf-8") as f:
                f.write(text)
        for idle, threads in [(0, 1), (100, 1), (50, 10)]:
            compare(arguments, config, idle, threads, ["-gather-smaps=false"], [])
        compare(arguments, config, 100, 1, ["-gather-smaps=false", "-threads=false"], ["--no-collector.process.threads"])
        compare(arguments, config, 100, 1, [], ["--collector.process.gather-smaps"])


if __name__ == "__main__":
    peers.main(run)
