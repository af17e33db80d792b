"""examples/demo.sh: what it ends with, and what it leaves."""

import os
import re
import signal
import subprocess
import tempfile
import unittest

from support import PROGRAMS, SOURCE, BrokerTest, eventually, main

DEMO = os.path.join(SOURCE, "examples", "demo.sh")


class Run:
    """A run of the demo in a folder for temporary files of its own, by which its processes are known."""

    def __init__(self, *arguments, programs=PROGRAMS):
        self.folder = tempfile.mkdtemp()
        self.output = os.path.join(self.folder, "..", os.path.basename(self.folder) + ".log")
        with open(self.output, "wb") as output:
            self.process = subprocess.Popen(
                [DEMO, "--programs", programs, *arguments], stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, env=os.environ | {"TMPDIR": self.folder})

    def text(self):
        with open(self.output, encoding="utf-8") as output:
            return output.read()

    def wait(self):
        self.process.wait(600)
        return self.process.returncode

    def processes(self):
        """Those that were started with its folder in their environment."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/environ", "rb") as environment:
                    if self.folder.encode() in environment.read():
                        found.append(int(pid))
            except OSError:
                pass  # gone, or another user's
        return found

    def rows(self):
        """The table: name to number."""
        return {name: int(number) for name, number in re.findall(r"^(\w[\w ]*?) +(\d+)$", self.text(), re.MULTILINE)}

    def close(self):
        self.wait()
        os.remove(self.output)
        os.rmdir(self.folder)  # it is empty


class Demo(unittest.TestCase):
    def start(self, *arguments, **options):
        run = Run(*arguments, **options)
        self.addCleanup(run.close)
        return run

    def check_leaves_nothing(self, run):
        self.assertEqual(run.processes(), [])
        self.assertEqual(os.listdir(run.folder), [])

    def test_ends_with_0_lost(self):
        run = self.start()
        self.assertEqual(run.wait(), 0, run.text())
        lines = run.text().splitlines()
        self.assertEqual(lines[-1], "lost 0")
        rows = run.rows()
        self.assertEqual(rows["sent"], 20)
        self.assertEqual(rows["processed the first time"] + rows["processed after retries"] + rows["parked"], 20)
        restart = lines.index("== Restarting the broker")
        self.assertLess(lines.index("Queued order 20"), restart)
        self.assertGreater(min(i for i, line in enumerate(lines) if line.startswith("Processing order")), restart)
        self.check_leaves_nothing(run)

    def run_with_a_consumer_of(self, script):
        """A demo whose orders_consumer is a script; $consumer in there is the real one."""
        with tempfile.TemporaryDirectory() as programs:
            for name in os.listdir(PROGRAMS):
                os.symlink(os.path.join(PROGRAMS, name), os.path.join(programs, name))
            path = os.path.join(programs, "orders_consumer")
            os.remove(path)
            with open(path, "w", encoding="utf-8") as consumer:
                consumer.write(f"#!/bin/bash\nset -o pipefail\nconsumer={PROGRAMS}/orders_consumer\n{script}\n")
            os.chmod(path, 0o755)
            run = self.start(programs=programs)
            code = run.wait()
        self.check_leaves_nothing(run)
        return code, run.text().splitlines()[-1]

    def test_an_order_without_its_success_line_is_lost(self):
        code, last = self.run_with_a_consumer_of(
            '"$consumer" "$@" --failure-rate 0 | grep -v "^Processed order 7$"')
        self.assertEqual((code, last), (1, "lost 1"))

    def test_a_consumer_that_fails_is_an_error(self):
        code, last = self.run_with_a_consumer_of("exit 1")
        self.assertEqual(code, 1)
        self.assertNotEqual(last, "lost 0")

    def test_chaos(self):
        """The broker is killed while each of the three programs works: none ends by it, nothing is lost."""
        run = self.start("--chaos")
        self.assertEqual(run.wait(), 0, run.text())
        self.assertEqual(run.text().splitlines()[-1], "lost 0")
        self.assertEqual(run.rows()["sent"], 20_000)
        killed = [int(lines) for lines in re.findall(r"broker killed after (\d+) lines", run.text())]
        ended = [int(lines) for lines in re.findall(r"ended after (\d+) lines", run.text())]
        self.assertEqual(len(killed), 3)
        self.assertTrue(all(before < after for before, after in zip(killed, ended, strict=True)), run.text())
        self.check_leaves_nothing(run)

    def test_a_stop_leaves_nothing(self):
        run = self.start("--orders", "100000")
        eventually(lambda: "Queued order" in run.text(), "orders are sent")
        run.process.send_signal(signal.SIGTERM)
        self.assertEqual(run.wait(), 143)
        self.check_leaves_nothing(run)

    def test_bad_arguments(self):
        for arguments in (["--orders", "0"], ["--orders", "many"], ["--no-such-option"],
                          ["--chaos", "--url", "amqp://localhost/"]):
            self.assertEqual(self.start(*arguments).wait(), 2)


class DemoOnAGivenBroker(BrokerTest):
    def test_neither_restarts_nor_stops_it(self):
        before = self.broker.instance()
        self.put("orders", {"order_id": "another's"})
        self.put("orders_parked", b"another's")
        for _ in range(2):
            run = Run("--url", self.url)
            self.addCleanup(run.close)
            self.assertEqual(run.wait(), 0, run.text())
            self.assertEqual(run.text().splitlines()[-1], "lost 0")
            self.assertEqual(run.rows()["sent"], 20)
            self.assertEqual(run.processes(), [])
        self.assertEqual(self.broker.instance(), before)
        self.assertEqual(self.count("orders"), 0)


if __name__ == "__main__":
    main()
