"""Arguments, exit codes, and a broker that is not there."""

import os
import signal
import socket
import subprocess
import time
import unittest

from support import PROGRAMS, Program, eventually, free_port, main

COMMON = ([], ["--connect-timeout", "-1"], ["--connect-timeout", "nan"], ["--connect-timeout", "soon"],
          ["--url", "http://localhost"], ["--url", "amqp://localhost:none"], ["--url"], ["--no-such-option"])
CONSUMER = (["--failure-rate", "1.1"], ["--failure-rate", "-0.1"], ["--failure-rate", "nan"],
            ["--failure-rate", "half"], ["--seed", "-1"], ["--prefetch", "0"], ["--prefetch", "-1"],
            ["--prefetch", "65536"], ["--concurrency", "0"], ["--concurrency", "-2"],
            ["--exit-when-idle", "-1"], ["--exit-when-idle", "nan"], ["an order"])
BAD = {
    "orders_producer": COMMON + (
        ["--count", "0"], ["--count", "-5"], ["--count", "many"], ["--count", "3", "7"], ["--first", "3"],
        ["--first", "3", "7"], ["--count", "3", "--first", "-1"], ["7", "--timeout", "0"],
        ["7", "--timeout", "nan"], [""], ["two\nlines"], [b"\xff"]),
    "orders_consumer": COMMON[1:] + CONSUMER + (["--max-attempts", "5"],),
    "orders_retry_consumer": COMMON[1:] + CONSUMER + (
        ["--max-attempts", "0"], ["--max-attempts", "-1"], ["--initial-delay", "0"], ["--max-delay", "nan"]),
    "orders_parked": COMMON[1:] + (
        ["replay", "--limit", "0"], ["replay", "--limit", "few"], ["replay", "--older-than", "-1"],
        ["discard", "--older-than", "nan"], ["replay", "discard"], ["mend"]),
    "task_worker": COMMON[1:] + (["a task"],),
    "orders_api": COMMON[1:] + (["--listen", "nowhere"], ["--listen", "127.0.0.1:0"],
                                ["--listen", "127.0.0.1:65536"], ["--listen", ":8080"]),
}
NAMES = [name for name in BAD if os.path.exists(os.path.join(PROGRAMS, name))]
NEEDED = {"orders_parked": ["list"], "orders_producer": ["7"]}  # so that a call is whole


def start(name, url, *arguments):
    return Program(name, "--url", url, *arguments, *NEEDED.get(name, []))


class Arguments(unittest.TestCase):
    def test_bad_ones_end_with_2_and_a_message(self):
        for name in NAMES:
            for arguments in BAD[name]:
                with self.subTest(name=name, arguments=arguments):
                    result = subprocess.run([os.path.join(PROGRAMS, name), *arguments], capture_output=True,
                                            timeout=30, check=False)
                    self.assertEqual(result.returncode, 2, result)
                    self.assertTrue(result.stderr)
                    self.assertEqual(result.stdout, b"")

    def test_help_ends_with_0(self):
        for name in NAMES:
            with self.subTest(name=name):
                result = subprocess.run([os.path.join(PROGRAMS, name), "--help"], capture_output=True, text=True,
                                        timeout=30, check=False)
                self.assertEqual(result.returncode, 0)
                self.assertIn("--connect-timeout", result.stdout)
                self.assertEqual(result.stderr, "")


class NoBroker(unittest.TestCase):
    def check_gives_up(self, name, port):
        began = time.monotonic()
        program = start(name, f"amqp://guest:sesame@127.0.0.1:{port}/", "--connect-timeout", "1")
        self.addCleanup(program.close)
        self.assertEqual(program.wait(), 1)
        self.assertLess(time.monotonic() - began, 15)  # without the option: 30 s
        self.assertEqual(program.lines, [])
        self.assertEqual(len(program.errors), 1, program)
        self.assertIn("can't be reached", program.errors[0])
        self.assertIn(f"127.0.0.1:{port}", program.errors[0])
        self.assertNotIn("sesame", program.errors[0])

    def test_refused(self):
        port = free_port()
        for name in NAMES:
            with self.subTest(name=name):
                self.check_gives_up(name, port)

    def test_silent(self):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            for name in NAMES:
                with self.subTest(name=name):
                    self.check_gives_up(name, silent.getsockname()[1])

    def test_a_stop_while_connecting_ends_with_0(self):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            for port in (silent.getsockname()[1], free_port()):
                for name in NAMES:
                    for stop in (signal.SIGTERM, signal.SIGINT):
                        with self.subTest(name=name, stop=stop):
                            program = start(name, f"amqp://127.0.0.1:{port}/", "--connect-timeout", "600")
                            self.addCleanup(program.close)
                            eventually(program.handles_signals, "the program handles the signals")
                            program.process.send_signal(stop)
                            self.assertEqual(program.wait(), 0, program)


if __name__ == "__main__":
    main()
